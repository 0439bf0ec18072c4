#!/usr/bin/env python3
"""Writes the TensorFlow checkpoints beside this file. Needs tensorflow (2.21.0, keras 3.15.1 made the committed ones).

Every variable holds a formula's values, so the test needs no second copy of them: element i of the tensor that the reader
should call NAME is float(2*uniform(NAME, i) - 1), see models/weights/formula.h; integers are floor(100*uniform).
"""
import os
import shutil

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf

HERE = os.path.dirname(os.path.abspath(__file__))
v1 = tf.compat.v1


def uniform(name, count):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & (2**64 - 1)
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(h) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 16777216.0


def values(name, shape, dtype=np.float32):
    u = uniform(name, int(np.prod(shape, dtype=int)))
    if np.issubdtype(dtype, np.integer):
        return np.floor(100 * u).astype(dtype).reshape(shape)
    if dtype == np.bool_:
        return (u < 0.5).reshape(shape)
    return (2 * u - 1).astype(np.float32).astype(dtype).reshape(shape)


def slim():
    """As TF-slim and the TPU repositories save: slots, averages, step counter beside the weights."""
    graph = tf.Graph()
    with graph.as_default():
        trained = []
        for name, shape in [
            ("MobilenetV2/Conv/weights", (3, 3, 3, 8)),
            ("MobilenetV2/Conv/BatchNorm/gamma", (8,)),
            ("MobilenetV2/Conv/BatchNorm/beta", (8,)),
            ("MobilenetV2/expanded_conv/depthwise/depthwise_weights", (3, 3, 8, 1)),
            ("MobilenetV2/Logits/Conv2d_1c_1x1/weights", (1, 1, 8, 11)),
            ("MobilenetV2/Logits/Conv2d_1c_1x1/biases", (11,)),
        ]:
            trained.append(v1.get_variable(name, initializer=values(name + " raw", shape)))
        moving = []
        for name in ["MobilenetV2/Conv/BatchNorm/moving_mean", "MobilenetV2/Conv/BatchNorm/moving_variance"]:
            moving.append(v1.get_variable(name, initializer=values(name, (8,)), trainable=False))
        step = v1.train.get_or_create_global_step()
        loss = tf.add_n([tf.reduce_sum(v * v) for v in trained])
        train = v1.train.RMSPropOptimizer(0.1, momentum=0.9).minimize(loss, global_step=step)
        averages = v1.train.ExponentialMovingAverage(0.9, step)
        average = averages.apply(trained)
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V2)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            session.run(train)
            session.run(average)
            for v in trained:
                shadow = averages.average(v)
                session.run(v1.assign(shadow, values(v.op.name, v.shape.as_list())))
            saver.save(session, os.path.join(HERE, "slim.ckpt"), write_meta_graph=False, write_state=False)


def types():
    """Every element type, two shards, and a variable in slices."""
    graph = tf.Graph()
    with graph.as_default():
        for i, (name, shape, dtype) in enumerate([
            ("t/bool", (5,), np.bool_),
            ("t/float", (2, 3), np.float32),
            ("t/double", (3,), np.float64),
            ("t/half", (5,), np.float16),
            ("t/int8", (3,), np.int8),
            ("t/uint8", (3,), np.uint8),
            ("t/int16", (3,), np.int16),
            ("t/int32", (3,), np.int32),
            ("t/int64", (), np.int64),
            ("t/empty", (0, 4), np.float32),
        ]):
            with tf.device("/cpu:%d" % (i % 2)):
                v1.get_variable(name, initializer=values(name, shape, dtype))
        with tf.device("/cpu:0"):
            v1.get_variable("t/bfloat16", initializer=tf.cast(values("t/bfloat16", (5,)), tf.bfloat16))
            v1.get_variable("t/complex", initializer=np.zeros(2, np.complex64))
            v1.get_variable("t/string", initializer=np.array([b"a", b"bc"]))
            v1.get_variable("t/parts", (4, 2), initializer=v1.zeros_initializer(),
                            partitioner=tf.compat.v1.fixed_size_partitioner(2), use_resource=False)
        saver = v1.train.Saver(sharded=True)
        with v1.Session(graph=graph, config=v1.ConfigProto(device_count={"CPU": 2})) as session:
            session.run(v1.global_variables_initializer())
            saver.save(session, os.path.join(HERE, "types.ckpt"), write_meta_graph=False, write_state=False)


def fill(model):
    for w in model.weights:
        w.assign(values(w.value.name.removesuffix(":0"), tuple(w.shape)))


def keras_model():
    keras = tf.keras
    keras.utils.clear_session()
    model = keras.Sequential([
        keras.Input((8, 8, 3)),
        keras.layers.Conv2D(4, 3, use_bias=False, name="Conv1"),
        keras.layers.BatchNormalization(name="bn_Conv1"),
        keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(5, name="predictions"),
    ])
    fill(model)
    return model


def objects():
    """tf.train.Checkpoint of a Keras model with its optimizer."""
    model = keras_model()
    optimizer = tf.keras.optimizers.Adam()
    model.compile(optimizer, "mse")
    model.train_on_batch(np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 5), np.float32))
    fill(model)
    tf.train.Checkpoint(model=model, optimizer=optimizer).write(os.path.join(HERE, "objects.ckpt"))


class Hub(tf.Module):
    """Variables named as TF Hub's modules name them."""

    def __init__(self):
        super().__init__()
        self.variables_ = [
            tf.Variable(values(name, shape), name=name)
            for name, shape in [
                ("MobilenetV2/Conv/weights", (3, 3, 3, 4)),
                ("MobilenetV2/Conv/BatchNorm/gamma", (4,)),
                ("MobilenetV2/Conv/BatchNorm/moving_variance", (4,)),
            ]
        ]

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def __call__(self, x):
        return x * self.variables_[1]


def saved_model():
    for name, save in [("hub", lambda path: tf.saved_model.save(Hub(), path)), ("export", lambda path: keras_model().export(path, verbose=False))]:
        folder = os.path.join(HERE, name)
        shutil.rmtree(folder, ignore_errors=True)
        save(folder)
        for entry in os.listdir(folder):  # only the variables are read
            path = os.path.join(folder, entry)
            if entry != "variables":
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


if __name__ == "__main__":
    slim()
    types()
    objects()
    saved_model()
    for root, _, files in os.walk(HERE):
        for f in sorted(files):
            print(os.path.getsize(os.path.join(root, f)), os.path.relpath(os.path.join(root, f), HERE))
    for prefix in ["slim.ckpt", "types.ckpt", "objects.ckpt", "hub/variables/variables", "export/variables/variables"]:
        reader = tf.train.load_checkpoint(os.path.join(HERE, prefix))
        print(prefix)
        for name, shape in sorted(reader.get_variable_to_shape_map().items()):
            print("   ", name, shape, reader.get_variable_to_dtype_map()[name].name)
