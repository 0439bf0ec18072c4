"""One network in the form of each candidate, made from one fovea model file."""
import logging
import pathlib
import subprocess

import numpy as np
import onnx

import seeded_weights
from fovea_graph import read_graph
from fovea_to_chain import write_chain
from fovea_to_onnx import to_onnx
from fovea_to_tflite import to_tflite

# What `fovea convert` is asked for: the conventions in which each network is usually deployed. TensorFlow's padding
# spares LiteRT a padding op before each convolution with stride 2 and costs the others nothing.
NETWORKS = {
    "mobilenet_v1": "mobilenetv1",
    "mobilenet_v2": "mobilenetv2",
    "mobilenet_v3_small": "tf_mobilenetv3_small_100",
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "efficientnet_b0": "tf_efficientnet_b0",
    "resnet50": "resnet50",
    "inception_v3": "inceptionv3",
}


def make_fovea(fovea, network, folder, size=0, width=0, seed=1):
    """Path of a model file with seeded weights and statistics that fit them; a given model file is taken as it is."""
    if network not in NETWORKS:
        return pathlib.Path(network)
    fresh, path = folder / "fresh.fovea", folder / f"{network}.fovea"
    command = [str(fovea), "convert", NETWORKS[network], "--out", str(fresh), "--seed", str(seed), "--quiet"]
    command += ["--size", str(size)] if size else []
    command += ["--width", str(width)] if width else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"fovea convert ended with status {done.returncode}: {done.stderr.strip()}")
    seeded_weights.settle(fresh, path, seed)
    fresh.unlink()
    return path


def quantize_onnx(source, result, graph, pictures=8):
    """ONNX Runtime's own static quantisation: QDQ form, a scale for each channel of the weights."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self):
            shape = graph.shapes[graph.input]
            self.left = [{graph.input: seeded_weights.channels_first_noise(shape, 1 + i)}
                         for i in range(-(-pictures // shape[0]))]

        def get_next(self):
            return self.left.pop() if self.left else None

    logging.getLogger().setLevel(logging.ERROR)  # it recommends a preparation that folding has done already
    quantize_static(source, result, Noise(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def make_peers(model, folder, batch, dtype, wanted):
    """(file of each wanted peer, the graph)"""
    graph = read_graph(model, batch)
    files = {}
    if "litert" in wanted:
        files["litert"] = folder / f"network-{dtype}.tflite"
        files["litert"].write_bytes(to_tflite(graph, seeded_weights.ranges(graph) if dtype == "int8" else None))
    if "onednn" in wanted:
        files["onednn"] = folder / "network.chain"
        write_chain(graph, files["onednn"])
    if "onnxruntime" in wanted or "openvino" in wanted:
        path = folder / "network.onnx"
        onnx.save(to_onnx(graph), path)
        if dtype == "int8":
            float_path, path = path, folder / "network-int8.onnx"
            quantize_onnx(float_path, path, graph)
        files.update({name: path for name in ("onnxruntime", "openvino") if name in wanted})
    return files, graph


def deviation(found, expected):
    """Greatest difference as a share of the spread of the expected logits."""
    spread = float(expected.max() - expected.min())
    return float(np.abs(found.reshape(expected.shape) - expected).max()) / max(spread, 1e-30)
