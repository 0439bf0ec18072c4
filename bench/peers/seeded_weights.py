"""Gives a network with fresh random weights batch-norm statistics that fit them.

A fresh network's running statistics are 0 and 1, under which the signal dies out or grows without bound within fifty
layers: the logits would be the last bias alone, whatever the layers before compute, and int8 would have no ranges to
find. One batch of seeded noise through the network, normalised layer by layer as in training, gives the statistics that
training would have; with them each layer's values are of the order of one.
"""
import numpy as np
import onnxruntime

from fovea_graph import read_graph, read_safetensors, write_safetensors
from fovea_to_onnx import statistics_of, to_onnx

BATCH = 4


def noise(shape, seed):
    """NHWC pictures as a normalised input has them."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def channels_first_noise(shape, seed):
    return np.ascontiguousarray(noise(shape, seed).transpose(0, 3, 1, 2))


def settle(source, result, seed=1):
    """Writes the model file `source` as `result` with fitting statistics."""
    graph = read_graph(source, BATCH, fused=False)
    tensors, metadata = read_safetensors(source)
    session = onnxruntime.InferenceSession(to_onnx(graph, normalise=True).SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    norms = [node for node in graph.nodes if node.norm]
    names = [name for node in norms for name in statistics_of(node)]
    values = session.run(names, {graph.input: channels_first_noise(graph.shapes[graph.input], seed)})
    values = dict(zip(names, values))
    for node in norms:
        for name, key in zip(statistics_of(node), ("mean", "variance")):
            stored = node.norm[key]
            tensors[stored] = values[name].reshape(-1).astype(tensors[stored].dtype)
    write_safetensors(result, tensors, metadata)


def ranges(graph, seed=1, pictures=8):
    """name -> (least, greatest) of the input and of every node's output over seeded noise."""
    session = onnxruntime.InferenceSession(to_onnx(graph, also_results=True).SerializeToString(),
                                           providers=["CPUExecutionProvider"])
    found = {}
    names = [output.name for output in session.get_outputs()]
    for i in range(-(-pictures // graph.shapes[graph.input][0])):
        x = channels_first_noise(graph.shapes[graph.input], seed + i)
        for name, value in zip([graph.input, *names], [x, *session.run(names, {graph.input: x})]):
            low, high = found.get(name, (0.0, 0.0))
            found[name] = (min(low, float(value.min())), max(high, float(value.max())))
    return found
