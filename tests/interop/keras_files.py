#!/usr/bin/env python3
"""Files that Keras writes, of many shapes, against `fovea run`: the logits must be equal.

Needs TensorFlow's Keras 3 (pip install keras tensorflow-cpu) and the built program:

    python3 tests/interop/keras_files.py build/release/bin/fovea [CASE ...]

Weights are random, but batch norms have the statistics of their inputs, so that a mistake anywhere shows: two pictures
must give different results. Prints one line a case and ends with 1 if any differs.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
from keras import layers

applications = keras.applications


def write_safetensors(path, name, array):
    array = np.ascontiguousarray(array, dtype="<f4")
    head = json.dumps({name: {"dtype": "F32", "shape": list(array.shape), "data_offsets": [0, array.nbytes]}}).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + array.tobytes())


def read_safetensors(path):
    data = open(path, "rb").read()
    (n,) = struct.unpack("<Q", data[:8])
    head = json.loads(data[8 : 8 + n])
    return {
        name: np.frombuffer(data[8 + n :][about["data_offsets"][0] : about["data_offsets"][1]], "<f4").reshape(about["shape"])
        for name, about in head.items()
        if name != "__metadata__"
    }


def all_layers(model):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)
        else:
            yield layer


def fill(model, seed):
    """Random weights whose results neither vanish nor explode."""
    rng = np.random.default_rng(seed)
    for layer in all_layers(model):
        for weight in layer.weights:
            shape, kind = weight.shape, weight.path.split("/")[-1]
            if kind == "gamma":
                value = rng.uniform(0.8, 1.2, shape)
            elif kind in ("beta", "moving_mean", "bias"):
                value = rng.uniform(-0.1, 0.1, shape)
            elif kind == "moving_variance":
                value = rng.uniform(0.6, 1.4, shape)
            elif kind == "mean":
                value = rng.uniform(0.45, 0.55, shape)
            elif kind == "variance":
                value = rng.uniform(0.06, 0.12, shape)
            elif kind.endswith("kernel"):
                depthwise = "depthwise" in layer.__class__.__name__.lower()
                fan = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
                value = rng.normal(0, np.sqrt(1.5 / fan), shape)
            else:
                continue
            weight.assign(value.astype("float32"))
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # it computes with copies of its weights


def settle(model, x):
    """Batch norms take the statistics of what they get, or the signal dies in a deep network's biases."""
    for inner in model.layers:
        if isinstance(inner, keras.Model):  # is called with training=False
            settle(inner, keras.Model(model.inputs, inner._inbound_nodes[-1].input_tensors[0])(x))
    norms = [layer for layer in all_layers(model) if isinstance(layer, layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(x, training=True)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum


def logits_of(model, x):
    """What the model gives without its softmax."""
    last = [layer for layer in all_layers(model) if layer.weights][-1]
    tail = model.layers[-1]
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear
        y = model.predict(x, verbose=0)
        last.activation = keras.activations.softmax
        return y
    y = model.predict(x, verbose=0)
    if isinstance(tail, layers.Softmax) or getattr(tail, "activation", None) is keras.activations.softmax:
        return np.log(y)  # up to a constant
    return y


def base(name, size, **options):
    return getattr(applications, name)(
        include_top=False, weights=None, input_shape=(size, size, 3), **options
    )


# Each case: a model, its pixel range, how it is saved, and the arguments that a file without config needs.
def whole(name, size, classes=10, kind="keras", low=-1, high=1, args=(), **options):
    model = getattr(applications, name)(weights=None, input_shape=(size, size, 3), classes=classes, **options)
    return model, low, high, kind, args


def transfer(name, size, preprocess=None, kind="keras", low=-1, high=1, head="dense", args=(), augment=False):
    inputs = keras.Input((size, size, 3))
    x = inputs
    if augment:
        x = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)], name="augmentation")(x)
    if preprocess:
        x = preprocess(x)
    x = base(name, size)(x, training=False)
    x = HEADS[head](x)
    return keras.Model(inputs, x), low, high, kind, args


def flat(name, size, head="dense", kind="keras", low=-1, high=1, **options):
    backbone = base(name, size, **options)
    return keras.Model(backbone.input, HEADS[head](backbone.output)), low, high, kind, ()


def sequential(name, size, kind="keras", first=(), pooling=None, low=-1, high=1):
    stages = [keras.Input((size, size, 3)), *first, base(name, size, pooling=pooling)]
    if not pooling:
        stages.append(layers.GlobalAveragePooling2D())
    return keras.Sequential(stages + [layers.Dropout(0.2), layers.Dense(4, activation="softmax")]), low, high, kind, ()


def dense(x):
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(5, activation="softmax")(layers.Dropout(0.3)(x))


def two_dense(x):
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    x = layers.BatchNormalization()(x)
    return layers.Dense(3, name="answer")(layers.Dropout(0.5)(x))


def pooled_flatten(x):
    x = layers.Flatten(name="flatten")(layers.AveragePooling2D((2, 2))(x))
    x = layers.Dense(16, activation="swish")(x)
    return layers.Activation("softmax")(layers.Dense(2)(x))


def flatten(x):
    return layers.Dense(6)(layers.Flatten()(x))


HEADS = {"dense": dense, "two_dense": two_dense, "pooled_flatten": pooled_flatten, "flatten": flatten}


def inception_made_late():
    base("InceptionV3", 80)  # takes the first 94 numbers
    return whole("InceptionV3", 80, kind="h5")


CASES = {
    "resnet50_weights": lambda: whole("ResNet50", 64, kind="weights.h5", args=("--size", "64")),
    "resnet101_h5": lambda: whole("ResNet101", 64, classes=4, kind="h5"),
    "resnet152_keras": lambda: whole("ResNet152", 64, classes=4),
    "inception_151": lambda: whole("InceptionV3", 151, classes=7),
    "inception_weights": lambda: whole("InceptionV3", 96, kind="weights.h5", args=("--size", "96")),
    "inception_made_late": inception_made_late,
    "efficientnet_b0_keras": lambda: whole("EfficientNetB0", 64, low=0, high=255),
    "efficientnet_b0_h5": lambda: whole("EfficientNetB0", 64, kind="h5", low=0, high=255),
    "efficientnet_b2_weights": lambda: whole("EfficientNetB2", 64, kind="weights.h5", low=0, high=255, args=("--size", "64")),
    "mobilenet_v1_keras": lambda: whole("MobileNet", 96, alpha=0.5),
    "mobilenet_v1_weights": lambda: whole("MobileNet", 96, kind="weights.h5", args=("--size", "96")),
    "mobilenet_v2_notop": lambda: (base("MobileNetV2", 96), -1, 1, "keras", ()),
    "mobilenet_v2_notop_avg": lambda: (base("MobileNetV2", 96, pooling="avg"), -1, 1, "h5", ()),
    "mobilenet_v2_notop_max": lambda: (base("MobileNetV2", 96, pooling="max"), -1, 1, "keras", ()),
    "mobilenet_v2_14": lambda: whole("MobileNetV2", 96, alpha=1.4, kind="weights.h5", args=("--size", "96")),
    "mobilenet_v3_small_keras": lambda: whole("MobileNetV3Small", 96, low=0, high=255),
    "mobilenet_v3_large_weights": lambda: whole("MobileNetV3Large", 96, kind="weights.h5", low=0, high=255, args=("--size", "96")),
    "mobilenet_v3_small_transfer": lambda: transfer("MobileNetV3Small", 96, low=0, high=255),
    "mobilenet_v2_transfer": lambda: transfer("MobileNetV2", 96, applications.mobilenet_v2.preprocess_input, low=0, high=255, augment=True),
    "mobilenet_v2_transfer_h5": lambda: transfer("MobileNetV2", 96, layers.Rescaling(1 / 127.5, offset=-1), kind="h5", low=0, high=255, augment=True),
    "mobilenet_v2_transfer_weights": lambda: transfer("MobileNetV2", 96, kind="weights.h5", args=("--size", "96")),
    "mobilenet_v2_transfer_plain_weights": lambda: transfer("MobileNetV2", 96, kind="weights.h5 without names", args=("--size", "96")),
    "efficientnet_b0_plain_weights": lambda: whole("EfficientNetB0", 64, kind="weights.h5 without names", low=0, high=255, args=("--size", "64")),
    "mobilenet_v1_plain_weights": lambda: whole("MobileNet", 96, kind="weights.h5 without names", args=("--size", "96")),
    "mobilenet_v3_plain_weights": lambda: whole("MobileNetV3Small", 96, kind="weights.h5 without names", low=0, high=255, args=("--size", "96")),
    "inception_plain_weights": lambda: whole("InceptionV3", 96, kind="weights.h5 without names", args=("--size", "96")),
    "resnet50_transfer_caffe": lambda: transfer("ResNet50", 64, applications.resnet50.preprocess_input, low=0, high=255, head="two_dense"),
    "inception_transfer": lambda: transfer("InceptionV3", 96, applications.inception_v3.preprocess_input, low=0, high=255),
    "efficientnet_transfer": lambda: transfer("EfficientNetB0", 64, low=0, high=255, augment=True),
    "efficientnet_flat": lambda: flat("EfficientNetB0", 64, low=0, high=255),
    "mobilenet_v2_flat": lambda: flat("MobileNetV2", 96, head="pooled_flatten", kind="h5"),
    "mobilenet_v2_flatten": lambda: flat("MobileNetV2", 96, head="flatten"),
    "resnet50_flat": lambda: flat("ResNet50", 64, head="two_dense"),
    "inception_flat": lambda: flat("InceptionV3", 96, head="two_dense"),
    "mobilenet_v3_flat": lambda: flat("MobileNetV3Large", 64, low=0, high=255),
    "sequential": lambda: sequential("MobileNetV2", 96, first=[layers.RandomFlip(), layers.Rescaling(1 / 127.5, offset=-1)], low=0, high=255),
    "sequential_h5": lambda: sequential("MobileNetV2", 96, kind="h5", pooling="avg"),
    "sequential_normalization": lambda: sequential(
        "ResNet50", 64, first=[layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.04, 0.05, 0.06])]),
}


def in_double(name, weights, x):
    keras.utils.clear_session()
    keras.config.set_floatx("float64")
    try:
        model = CASES[name]()[0]
        model.set_weights(weights)
        for layer in all_layers(model):
            if isinstance(layer, layers.Normalization):
                layer.finalize_state()
        return logits_of(model, x.astype("float64"))
    finally:
        keras.config.set_floatx("float32")


def check(name, program, folder):
    keras.utils.clear_session()
    model, low, high, kind, args = CASES[name]()
    fill(model, 7)
    size = model.input_shape[1]
    x = np.random.default_rng(1).uniform(low, high, (16, size, size, 3)).astype("float32")
    settle(model, x)
    x = x[:2]
    # The last weights so that the results have a deviation of about 1.
    expected = logits_of(model, x)
    last = [layer for layer in all_layers(model) if layer.weights][-1]
    if expected.ndim == 2 and hasattr(last, "kernel"):
        last.kernel.assign(last.kernel / max(float(expected.std()), 1e-3))
        expected = logits_of(model, x)
    names = kind.endswith("without names")
    path = os.path.join(folder, name + "." + kind.split()[0])
    if kind.startswith("weights.h5"):
        model.save_weights(path)
        if names:
            import h5py

            with h5py.File(path, "r+") as f:
                f.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    else:
        model.save(path)
    write_safetensors(os.path.join(folder, "x.safetensors"), "input", x)
    out = os.path.join(folder, "y.safetensors")
    command = [program, "run", path, "--input", os.path.join(folder, "x.safetensors"), "--output", out, *args]
    done = subprocess.run(command, capture_output=True, text=True)
    os.remove(path)
    if done.returncode:
        return None, done.stderr.strip()
    result = read_safetensors(out)
    y = result["logits"] if "logits" in result else result["features"]
    if y.shape != expected.shape:
        return None, f"shape {y.shape}, Keras has {expected.shape}"
    scale = max(1.0, float(np.abs(expected).max()))
    if np.abs(expected[0] - expected[1]).max() < 0.05 * scale:
        return None, "hardly depends on the picture: the case tests nothing"

    def difference(a, b):
        if isinstance(model.layers[-1], (layers.Softmax, layers.Activation)):  # logits up to a constant
            a, b = (logits - logits.mean(axis=-1, keepdims=True) for logits in (a, b))
        return float(np.abs(a - b).max()) / scale

    worst = difference(y, expected)
    if worst <= 1e-4:
        return worst, None
    # Random weights can amplify rounding beyond that; then Keras' own is the measure.
    exact = in_double(name, model.get_weights(), x)
    worst, own = difference(y, exact), difference(expected, exact)
    return worst, None if worst <= max(1e-4, 2 * own) else f"differs (Keras' own rounding is {own:.1e}):"


def main():
    program = sys.argv[1]
    wanted = sys.argv[2:] or list(CASES)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            worst, problem = check(name, program, folder)
            failed += problem is not None
            figure = "" if worst is None else f"{worst:.1e} of the largest"
            print(f"{name:40} {problem or 'ok'} {figure}", flush=True)
    print(f"{len(wanted) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
