"""Weights that fovea writes, in keras.applications: set by their paths, they give the same logits.

    python tests/interop/export_keras.py build/release/bin/fovea [PART OF A CASE'S NAME ...]

Each network comes from Keras with random weights, goes through a .fovea file and comes back as a safetensors file whose
names are the variables' paths: bit for bit, and with the logits that `fovea run` gives. Prints SKIP where Keras is not
installed.
"""

import sys

import numpy as np

try:
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    from zoo_keras import settle
except ImportError as error:
    print(f"SKIP: {error}")
    sys.exit(77)
from fovea_interop import Fovea, Report, read_safetensors

apps = keras.applications

# Network, picture size, largest input value (some contain the rescaling).
CASES = [
    ("MobileNetV2", 97, 1, {}),
    ("MobileNetV2", 64, 1, {"alpha": 0.5}),
    ("MobileNet", 64, 1, {}),
    ("MobileNetV3Small", 96, 255, {}),
    ("MobileNetV3Large", 65, 255, {}),
    ("EfficientNetB0", 96, 255, {}),
    ("ResNet50", 64, 1, {}),
    ("InceptionV3", 139, 1, {}),
]


def main():
    fovea, report = Fovea(sys.argv[1]), Report()
    for name, size, scale, options in CASES:
        label = f"keras {name} {options or ''}"
        if sys.argv[2:] and not any(w in label for w in sys.argv[2:]):
            continue

        def make():
            keras.utils.clear_session()
            return getattr(apps, name)(weights=None, classes=5, input_shape=(size, size, 3), classifier_activation=None, **options)

        keras.utils.set_random_seed(1)
        network = make()
        x = (np.random.default_rng(2).random((4, size, size, 3)) * scale).astype(np.float32)
        settle(network, x)
        before = {w.path: np.asarray(w) for w in network.weights}
        single = np.asarray(network(x, training=False))
        theirs_file, ours_file, written = (fovea.folder / f for f in ("theirs.h5", "ours.fovea", "written.safetensors"))
        network.save(theirs_file)
        try:
            fovea("convert", theirs_file, "--out", ours_file, "-q")
            fovea("convert", ours_file, "--layout", "keras", "--out", written, "-q")
            ours, said = fovea.logits(ours_file, x)
        except RuntimeError as error:
            report.fail(label, error)
            continue
        weights = read_safetensors(written)
        keras.config.set_floatx("float64")
        fresh = make()
        keras.config.set_floatx("float32")
        missing = [w.path for w in fresh.weights if w.path not in weights and not w.path.endswith("/count")]
        unexpected = sorted(set(weights) - {w.path for w in fresh.weights})
        if missing or unexpected:
            report.fail(label, f"missing {missing[:4]} ({len(missing)}), unexpected {unexpected[:4]} ({len(unexpected)})")
            continue
        for w in fresh.weights:
            if w.path in weights:
                w.assign(weights[w.path])
                if not np.array_equal(weights[w.path], before[w.path]):
                    report.fail(label, f"{w.path} comes back otherwise")
        for layer in fresh._flatten_layers():
            if isinstance(layer, keras.layers.Normalization):
                layer.finalize_state()
        theirs = np.asarray(fresh(x.astype(np.float64), training=False))
        # Random weights can amplify rounding beyond 1e-4; then Keras' own rounding is the measure.
        noise = float(np.abs(single - theirs).max() / theirs.std())
        report.compare(label, ours, theirs, tolerance=max(1e-4, 3 * noise), note=f"(Keras itself {noise:.1e}) {said}")
    return report.status()


if __name__ == "__main__":
    sys.exit(main())
