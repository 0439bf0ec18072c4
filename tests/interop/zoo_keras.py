"""Networks of keras.applications with random weights against `fovea run` on their files.

    python tests/interop/zoo_keras.py build/release/bin/fovea [--format h5|weights.h5|keras|safetensors] [PART OF A NAME ...]

Each case is built there, its batch norms take the statistics of random pictures, it is saved (by default in turn as a
legacy .h5 with its description, .weights.h5 and .keras) and read here with nothing said about it. `safetensors` writes the variables by their Keras paths, for want of an HDF5 reader.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
from fovea_interop import Fovea, Report, write_safetensors

apps = keras.applications


def imagenet_graph(make):
    """What weights="imagenet" builds, without the download."""

    def build(**kwargs):
        get_file, load = keras.utils.get_file, keras.Model.load_weights
        from keras.src.applications import efficientnet

        efficientnet.file_utils.get_file = lambda *a, **k: "none"
        keras.Model.load_weights = lambda *a, **k: None
        try:
            return make(weights="imagenet", **kwargs)
        finally:
            efficientnet.file_utils.get_file, keras.Model.load_weights = get_file, load

    return build


def cases():
    def case(name, size, scale=1.0, make=None, kind=None, **kwargs):
        kwargs.setdefault("classes", 9)
        kwargs.setdefault("weights", None)
        label = f"keras {name} {size} { {k: v for k, v in kwargs.items() if k != 'weights'} }"
        make = make or getattr(apps, name)
        return label, lambda: make(input_shape=(size, size, 3), classifier_activation=None, **kwargs), size, scale, kind

    yield case("MobileNet", 224)
    yield case("MobileNet", 129, alpha=0.5)
    yield case("MobileNet", 97, alpha=0.25, include_top=False)
    yield case("MobileNetV3Small", 224, 255)
    yield case("MobileNetV3Small", 101, 255, alpha=0.75)
    yield case("MobileNetV3Small", 96, include_preprocessing=False, kind="keras")
    yield case("MobileNetV3Large", 129, 255)
    yield case("MobileNetV3Large", 96, 255, alpha=1.25)
    for n, size in enumerate([224, 129, 97, 128, 65, 64, 65, 64]):
        yield case(f"EfficientNetB{n}", size, 255)
    imagenet = imagenet_graph(apps.EfficientNetB1)
    yield case("EfficientNetB1 imagenet", 240, 255, classes=1000, make=lambda weights, **k: imagenet(**k), kind="h5")
    yield case("EfficientNetB0", 75, 255, include_top=False)
    yield case("EfficientNetB0", 75, 255, include_top=False, pooling="avg")


def settle(network, x):
    generator = np.random.default_rng(1)
    flat = network._flatten_layers()
    for layer in flat:
        if isinstance(layer, keras.layers.BatchNormalization):
            if layer.gamma is not None:  # InceptionV3's have none
                layer.gamma.assign(generator.uniform(0.8, 1.2, layer.gamma.shape))
            layer.beta.assign(generator.uniform(-0.1, 0.1, layer.beta.shape))
            layer.momentum = 0.0
        elif isinstance(layer, keras.layers.Normalization):
            mean, variance, *_ = layer.weights
            mean.assign(generator.uniform(0.4, 0.5, mean.shape))
            variance.assign(generator.uniform(0.2, 0.25, variance.shape))
            layer.finalize_state()
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(generator.uniform(-0.1, 0.1, layer.bias.shape))
    network(x, training=True)
    y = np.asarray(network(x, training=False))
    if y.ndim == 2:
        last = [l for l in network._flatten_layers() if hasattr(l, "kernel")][-1]
        if last.kernel.shape[-1] == y.shape[-1]:
            last.kernel.assign(np.asarray(last.kernel) * (2 / y.std()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fovea")
    parser.add_argument("--format", choices=["h5", "weights.h5", "keras", "safetensors"])
    parser.add_argument("names", nargs="*")
    a = parser.parse_args()
    fovea, report = Fovea(a.fovea), Report()
    for number, (name, make, size, scale, kind) in enumerate(cases()):
        if a.names and not any(w in name for w in a.names):
            continue
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        network = make()
        x = (np.random.default_rng(2).random((2, size, size, 3)) * scale).astype(np.float32)
        # Small maps need more pictures: deviations of a few values blow up rounding.
        settle(network, x if size > 80 else (np.random.default_rng(3).random((32, size, size, 3)) * scale).astype(np.float32))
        theirs = np.asarray(network(x, training=False))
        kind = a.format or kind or ["h5", "weights.h5", "keras"][number % 3]
        path = fovea.folder / f"weights.{kind.replace('weights.', '')}"
        if kind == "weights.h5":
            path = fovea.folder / "some.weights.h5"
            network.save_weights(path)
        elif kind == "safetensors":
            write_safetensors(path, {w.path: np.asarray(w) for w in network.weights})
        else:
            network.save(path)
        try:
            ours, said = fovea.logits(path, x)
            report.compare(f"{name} .{kind}", ours, theirs, note=said)
        except RuntimeError as error:
            report.fail(f"{name} .{kind}", error)
    return report.status()


if __name__ == "__main__":
    sys.exit(main())
