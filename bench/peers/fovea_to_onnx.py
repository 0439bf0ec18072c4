#!/usr/bin/env python3
"""Writes a .fovea model file as ONNX (NCHW, static shape, batch norms folded), as an exporter would.

    python3 bench/peers/fovea_to_onnx.py mobilenet_v2.fovea mobilenet_v2.onnx --batch 1
"""
import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fovea_graph import read_graph

OPSET, IR_VERSION = 17, 8


def channels_first(shape):
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape


class Writer:
    def __init__(self, graph, normalise=False):
        self.graph, self.normalise, self.nodes, self.constants = graph, normalise, [], {}

    def constant(self, name, array):
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        return name

    def emit(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes))

    def activation(self, kind, source, output):
        if kind == "relu":
            self.emit("Relu", [source], output)
        elif kind == "relu6":
            self.emit("Clip", [source, self.constant("zero", np.float32(0)), self.constant("six", np.float32(6))], output)
        elif kind == "sigmoid":
            self.emit("Sigmoid", [source], output)
        elif kind == "silu":
            self.emit("Sigmoid", [source], output + "_sigmoid")
            self.emit("Mul", [source, output + "_sigmoid"], output)
        elif kind == "hard_sigmoid":
            self.emit("HardSigmoid", [source], output, alpha=1 / 6, beta=0.5)
        else:
            self.emit("HardSwish", [source], output)

    def window(self, node):
        top, bottom, left, right = node.padding
        return {"kernel_shape": list(node.window), "strides": list(node.stride), "pads": [top, left, bottom, right]}

    def normalised(self, node, output):
        """A batch norm as in training: by the statistics of this very batch, which get names of their own."""
        mean, variance = statistics_of(node)
        self.emit("ReduceMean", node.inputs, mean, axes=[0, 2, 3], keepdims=1)
        self.emit("Sub", [*node.inputs, mean], output + "_centred")
        self.emit("Mul", [output + "_centred"] * 2, output + "_squared")
        self.emit("ReduceMean", [output + "_squared"], variance, axes=[0, 2, 3], keepdims=1)
        epsilon = self.constant(output + "_epsilon", np.float32(node.norm["epsilon"]))
        self.emit("Add", [variance, epsilon], output + "_positive")
        self.emit("Sqrt", [output + "_positive"], output + "_deviation")
        self.emit("Div", [output + "_centred", output + "_deviation"], output + "_unit")
        gamma = np.ones_like(node.weight) if node.norm["gamma"] is None else node.norm["gamma"]
        beta = np.zeros_like(node.weight) if node.norm["beta"] is None else node.norm["beta"]
        self.emit("Mul", [output + "_unit", self.constant(output + "_gamma", gamma.reshape(1, -1, 1, 1))], output + "_g")
        self.emit("Add", [output + "_g", self.constant(output + "_beta", beta.reshape(1, -1, 1, 1))], output)

    def node(self, node):
        output = node.output + "_linear" if node.activation else node.output
        if node.op == "conv":
            weight = self.constant(node.output + "_weight", node.weight.transpose(3, 2, 0, 1))
            self.emit("Conv", [*node.inputs, weight, self.constant(node.output + "_bias", node.bias)], output,
                      group=node.groups, dilations=list(node.dilation), **self.window(node))
        elif node.op == "dense":
            weight = self.constant(node.output + "_weight", node.weight.T)
            self.emit("Gemm", [*node.inputs, weight, self.constant(node.output + "_bias", node.bias)], output, transB=1)
        elif node.op in ("add", "multiply"):
            self.emit("Add" if node.op == "add" else "Mul", node.inputs, output)
        elif node.norm and self.normalise:
            self.normalised(node, output)
        elif node.op == "affine":
            scale = self.constant(node.output + "_scale", node.weight.reshape(1, -1, 1, 1))
            shift = self.constant(node.output + "_shift", node.bias.reshape(1, -1, 1, 1))
            self.emit("Mul", [*node.inputs, scale], output + "_scaled")
            self.emit("Add", [output + "_scaled", shift], output)
        elif node.op == "concat":
            self.emit("Concat", node.inputs, output, axis=1)
        elif node.op == "max_pool":
            self.emit("MaxPool", node.inputs, output, ceil_mode=int(node.ceil_mode), **self.window(node))
        elif node.op == "avg_pool":
            self.emit("AveragePool", node.inputs, output, ceil_mode=int(node.ceil_mode),
                      count_include_pad=int(node.count_padding), **self.window(node))
        elif node.op == "mean" and node.keep_axes:
            self.emit("GlobalAveragePool", node.inputs, output)
        elif node.op == "mean":
            self.emit("GlobalAveragePool", node.inputs, output + "_pooled")
            self.emit("Flatten", [output + "_pooled"], output, axis=1)
        else:
            self.activation(node.op, node.inputs[0], output)
        if node.activation:
            self.activation(node.activation, output, node.output)


def statistics_of(node):
    return node.output + "_mean", node.output + "_variance"


def to_onnx(graph, also_results=False, normalise=False):
    """`also_results`: every activation is a result of the network too, to see the range it takes. `normalise`: batch
    norms (of a graph that is not fused) take the statistics of the batch, which are results of the network too."""
    writer = Writer(graph, normalise)
    for node in graph.nodes:
        writer.node(node)
    shapes = {name: channels_first(shape) for name, shape in graph.shapes.items()}
    results = [graph.output]
    if also_results:
        results += [node.output for node in graph.nodes if node.output != graph.output]
    if normalise:
        for node in graph.nodes:
            for name in statistics_of(node) if node.norm else ():
                shapes[name] = (1, len(node.weight), 1, 1)
                results.append(name)

    def info(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])

    made = helper.make_graph(writer.nodes, "fovea", [info(graph.input)], [info(name) for name in results],
                             initializer=list(writer.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                              producer_name="fovea bench/peers")
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    onnx.save(to_onnx(read_graph(args.model, args.batch)), args.out)


if __name__ == "__main__":
    main()
