#!/usr/bin/env python3
"""Writes keras_*.h5 and keras_*.keras with Keras, and keras.json with what they hold: the tests compare.

    pip install keras==3.12.0 h5py==3.16.0 numpy scipy jax ml_dtypes && python3 make_keras.py

Made with Keras 3.12.0 on its NumPy backend (which imports jax). Values are kept as the FNV-1a 64 checksum of their
little-endian bytes, in the order of layers, and of Keras' own order of variables within a layer.
"""
import json
import os
import zipfile

os.environ["KERAS_BACKEND"] = "numpy"
import h5py
import keras
import numpy as np
from keras import layers

DTYPES = {"float32": "f32", "bfloat16": "bf16", "int32": "i32"}
HERE = os.path.dirname(os.path.abspath(__file__))


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def randomise(model):
    rng = np.random.default_rng(3)
    for v in model.weights:
        v.assign(rng.normal(size=v.shape).astype("float32"))


def own(layer):
    return layer._trainable_variables + layer._non_trainable_variables


def variables(model, inside=""):
    """(name, name with the models around it, variable)"""
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += variables(layer, inside + layer.name + "/")
            continue
        inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
        for v in own(inner):
            found.append((f"{layer.name}/{v.name}", f"{inside}{layer.name}/{v.name}", v))
    return found


def describe(model):
    found = variables(model)
    names = [f[0] for f in found]
    result = []
    for name, longer, v in found:
        data = np.asarray(v)
        name = longer if names.count(name) > 1 else name
        result.append([name, DTYPES[v.dtype], list(v.shape), fnv(data.tobytes())])
    return result


def branch(name, inputs):
    x = y = keras.Input(inputs)
    y = layers.Conv2D(4, 3, padding="same", name="twin")(y)
    y = layers.BatchNormalization(scale=False, name=f"bn_{name}")(y)
    return keras.Model(x, y, name=name)


def nested():
    """Everything that makes names hard: models in models, equal names, operations without layer, wrappers, flags."""
    x = keras.Input((8, 8, 3))
    y = layers.Normalization(name="norm")(x)
    y = layers.Conv2D(4, 3, use_bias=False, name="first")(y)
    y = layers.BatchNormalization(center=False, name="bn")(y)
    y = y * 2.0 + 1.0
    left, right = branch("left", (6, 6, 4)), branch("right", (6, 6, 4))
    y = layers.Add(name="sum")([right(y), left(y)])
    y = layers.DepthwiseConv2D(3, name="dw")(y)
    y = layers.SeparableConv2D(5, 1, name="sep")(y)
    y = layers.PReLU(shared_axes=[1, 2], name="act")(y)
    y = layers.Dropout(0.1)(y)
    y = layers.GlobalAveragePooling2D()(y)
    y = layers.LayerNormalization(name="ln")(y)
    inner = keras.Sequential([layers.Dense(3), layers.Dense(2, use_bias=False)], name="inner")
    head = keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="relu"), inner], name="head")
    y = head(y)
    y = layers.Reshape((2, 1))(y)
    y = layers.TimeDistributed(layers.Dense(2), name="each")(y)
    shared = layers.Dense(2, name="shared")
    return keras.Model(x, shared(shared(layers.Flatten()(layers.Conv1D(2, 2, name="last")(y)))))


def small():
    return keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, name="c"), layers.Flatten(), layers.Dense(2, name="d")])


def pack(source, path, method):
    """The same archive with members of this method, and without the dates, so that it is reproducible."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename == "metadata.json":
                data = json.dumps({"keras_version": keras.__version__}).encode()
            new.writestr(zipfile.ZipInfo(item.filename), data, compress_type=method)


def main():
    expected = {}
    here = lambda name: os.path.join(HERE, name)

    keras.utils.clear_session()
    model = nested()
    randomise(model)
    model.save(here("tmp.keras"))
    pack(here("tmp.keras"), here("keras_nested.keras"), zipfile.ZIP_DEFLATED)
    expected["keras_nested.keras"] = describe(model)

    keras.utils.clear_session()
    x = keras.Input((6, 6, 3))
    base = branch("backbone", (6, 6, 3))
    y = layers.GlobalAveragePooling2D()(base(x))
    model = keras.Model(x, layers.Dense(2, name="dense")(y))
    base.get_layer("twin").trainable = False
    randomise(model)
    model.save(here("keras_legacy.h5"))
    expected["keras_legacy.h5"] = describe(model)
    with h5py.File(here("keras_legacy.h5"), "r+") as file:  # what Keras does above 64 KB
        group = file["model_weights/backbone"]
        names = group.attrs.pop("weight_names")
        group.attrs["weight_names0"], group.attrs["weight_names1"] = names[:2], names[2:]

    # Weights only, as Keras 1 and 2 wrote them: fixed texts, output numbers, name scopes that were used before.
    expected["keras_old.h5"] = []
    rng = np.random.default_rng(5)
    with h5py.File(here("keras_old.h5"), "w") as file:
        content = {
            "input_1": [],
            "normalization": [("mean:0", "normalization/mean"), ("count:0", "normalization/count")],
            "conv": [("conv_3/kernel:0", "conv/kernel"), ("conv_3/bias:0", "conv/bias")],
            "net_1.00": [("block/dw/depthwise_kernel:0", "dw/depthwise_kernel"), ("bn/gamma:0", "bn/gamma")],
            "head": [("head/kernel:0", "head/kernel")],
        }
        file.attrs["layer_names"] = np.array([name.encode() for name in content])
        file.attrs["keras_version"] = np.bytes_(b"2.2.4")
        for layer, weights in content.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name, _ in weights])
            for name, short in weights:
                data = rng.normal(size=(2, 3)).astype("f4")
                group[name] = data
                expected["keras_old.h5"].append([short, "f32", [2, 3], fnv(data.tobytes())])

    keras.utils.clear_session()
    model = small()
    randomise(model)
    model.save(here("tmp.keras"))
    pack(here("tmp.keras"), here("keras_small.keras"), zipfile.ZIP_STORED)
    expected["keras_small.keras"] = describe(model)

    # Before Keras 3.10 the file did not say the names of layers.
    keras.utils.clear_session()
    keras.config.set_floatx("bfloat16")
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 1), layers.Conv2D(1, 1), layers.Flatten(), layers.Dense(2)])
    randomise(model)
    model.save_weights(here("keras_unnamed.weights.h5"))
    with h5py.File(here("keras_unnamed.weights.h5"), "r+") as file:
        file.visititems(lambda name, item: item.attrs.pop("name", None) and None)
    paths = ["layers/conv2d", "layers/conv2d_1", "layers/dense"]
    expected["keras_unnamed.weights.h5"] = [
        [f"{paths[i // 2]}/vars/{i % 2}", *rest[1:]] for i, rest in enumerate(describe(model))
    ]
    os.remove(here("tmp.keras"))
    with open(here("keras.json"), "w") as out:
        json.dump(expected, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
