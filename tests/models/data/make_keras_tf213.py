#!/usr/bin/env python3
"""Writes keras_tf213.keras, and its part of keras.json, with the Keras of TensorFlow 2.13: another way of naming groups.

    pip install tensorflow-cpu==2.13.1 && python3 make_keras.py && python3 make_keras_tf213.py

Made with tensorflow-cpu 2.13.1.
"""
import json
import os
import zipfile

import numpy as np
import tensorflow as tf

keras, layers = tf.keras, tf.keras.layers
HERE = os.path.dirname(os.path.abspath(__file__))


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def backbone():
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(2, 3, name="inner_a")(x)
    y = layers.ReLU()(y)
    y = layers.Conv2D(2, 3, name="inner_b")(y)
    return keras.Model(x, layers.BatchNormalization(name="inner_bn")(y), name="backbone")


def main():
    x = keras.Input((6, 6, 3))
    y = layers.ReLU()(x)
    y = layers.Conv2D(3, 1, name="a")(y)
    y = layers.Conv2D(3, 1, use_bias=False, name="b")(layers.ReLU()(y))
    y = backbone()(y)
    y = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(2, name="dw")(y))
    model = keras.Model(x, layers.Dense(2, name="d1")(layers.Dense(3, name="d0")(y)))
    rng = np.random.default_rng(7)
    for v in model.weights:
        v.assign(rng.normal(size=v.shape).astype("f4"))
    path = os.path.join(HERE, "keras_tf213.keras")
    model.save(path)
    with zipfile.ZipFile(path) as old:
        members = {item.filename: old.read(item) for item in old.infolist()}
    members["metadata.json"] = json.dumps({"keras_version": keras.__version__ if hasattr(keras, "__version__") else "2.13.1"}).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            new.writestr(zipfile.ZipInfo(name), members[name], compress_type=zipfile.ZIP_DEFLATED)
    result = []
    for layer in model.layers:
        for inner in layer.layers if layer.name == "backbone" else [layer]:
            for v in inner.trainable_weights + inner.non_trainable_weights:
                name = v.name.split("/")[-1].split(":")[0].replace("depthwise_kernel", "kernel")
                result.append([f"{inner.name}/{name}", "f32", list(v.shape), fnv(v.numpy().tobytes())])
    with open(os.path.join(HERE, "keras.json")) as file:
        expected = json.load(file)
    expected["keras_tf213.keras"] = result
    with open(os.path.join(HERE, "keras.json"), "w") as out:
        json.dump(expected, out, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
