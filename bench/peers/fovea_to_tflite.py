#!/usr/bin/env python3
"""Writes a .fovea model file as .tflite, in f32 or, given the range of every activation, in full-integer int8.

    python3 bench/peers/fovea_to_tflite.py mobilenet_v2.fovea mobilenet_v2.tflite --batch 1

int8 is what LiteRT's own converter makes: weights symmetric with a scale for each result channel, activations with one
scale and zero point, biases as int32; concatenations and pools keep the scale of their inputs.
"""
import argparse

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from fovea_graph import read_graph, same_padding

FUSED_NAMES = {"": 0, "relu": schema.ActivationFunctionType.RELU, "relu6": schema.ActivationFunctionType.RELU6}
TYPES = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int8): schema.TensorType.INT8,
         np.dtype(np.int32): schema.TensorType.INT32}
# The version of an op that knows int8; the float versions are 1.
INT8_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "MUL": 2, "CONCATENATION": 2,
                 "MAX_POOL_2D": 2, "AVERAGE_POOL_2D": 2, "MEAN": 2, "LOGISTIC": 2, "PAD": 2, "RELU": 2, "RELU6": 2}
SAME_SCALE = ("concat", "max_pool", "avg_pool")


class AlignedBuffer(schema.BufferT):
    """The schema wants 16 bytes of alignment; Python's generated code gives 1."""

    def Pack(self, builder):
        vector = None
        if self.data is not None:
            builder.StartVector(1, len(self.data), 16)
            builder.head -= len(self.data)
            builder.Bytes[builder.head:builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def affine_scale(low, high):
    """(scale, zero point) of int8 for a range, which is widened to hold zero."""
    low, high = min(0.0, low), max(0.0, high)
    scale = max(high - low, 1e-8) / 255
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def shared_ranges(graph, ranges):
    """Tensors that an op may not rescale get the union of their ranges."""
    leader = {name: name for name in ranges}

    def find(name):
        while leader[name] != name:
            name = leader[name]
        return name

    for node in graph.nodes:
        if node.op in SAME_SCALE:
            for name in node.inputs:
                leader[find(name)] = find(node.output)
    union = {}
    for name, (low, high) in ranges.items():
        old = union.get(find(name), (0.0, 0.0))
        union[find(name)] = (min(low, old[0]), max(high, old[1]))
    return {name: union[find(name)] for name in ranges}


class Writer:
    def __init__(self, graph, ranges=None):
        self.graph, self.int8 = graph, ranges is not None
        self.scales = {}
        if self.int8:
            self.scales = {name: affine_scale(*r) for name, r in shared_ranges(graph, ranges).items()}
            for node in graph.nodes:
                if node.op in ("sigmoid", "silu"):  # LiteRT fixes the scale of a logistic function's result
                    self.scales[node.output + ("_sigmoid" if node.op == "silu" else "")] = (1 / 256, -128)
        self.tensors, self.index, self.operators, self.codes = [], {}, [], []
        self.buffers = [AlignedBuffer()]
        self.activation_tensor(graph.input, graph.shapes[graph.input])
        for node in graph.nodes:
            self.node(node)

    def tensor(self, name, shape, dtype, buffer=0, scale=None, zero=None, axis=0):
        quantization = None
        if scale is not None:
            quantization = schema.QuantizationParametersT(
                scale=np.asarray(scale, np.float32).reshape(-1), zeroPoint=np.asarray(zero, np.int64).reshape(-1),
                quantizedDimension=axis)
        self.tensors.append(schema.TensorT(shape=np.asarray(shape, np.int32), type=TYPES[np.dtype(dtype)], buffer=buffer,
                                           name=name, quantization=quantization))
        self.index[name] = len(self.tensors) - 1
        return self.index[name]

    def activation_tensor(self, name, shape):
        if not self.int8:
            return self.tensor(name, shape, np.float32)
        scale, zero = self.scales[name]
        return self.tensor(name, shape, np.int8, scale=scale, zero=zero)

    def constant(self, name, array, scale=None, zero=None, axis=0):
        if name in self.index:
            return self.index[name]
        self.buffers.append(AlignedBuffer(data=np.ascontiguousarray(array).tobytes()))
        return self.tensor(name, array.shape, array.dtype, len(self.buffers) - 1, scale, zero, axis)

    def weights(self, name, weight, bias, source, axis):
        """Indices of weight and bias; `axis` of the weight is that of the result channels."""
        weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
        if not self.int8:
            return [self.constant(name + "_weight", weight), self.constant(name + "_bias", bias)]
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.maximum(np.abs(weight).max(axis=others), 1e-8) / 127
        shape = [1] * weight.ndim
        shape[axis] = -1
        quantized = np.clip(np.rint(weight / scale.reshape(shape)), -127, 127).astype(np.int8)
        bias_scale = scale * self.scales[source][0]
        quantized_bias = np.clip(np.rint(bias / bias_scale), -2**31 + 1, 2**31 - 1).astype(np.int32)
        zeros = np.zeros(len(scale), np.int64)
        return [self.constant(name + "_weight", quantized, scale, zeros, axis),
                self.constant(name + "_bias", quantized_bias, bias_scale, zeros)]

    def scalar(self, name, value):
        """A constant operand of ADD or MUL, one value or one a channel."""
        value = np.asarray(value, np.float32).reshape(-1)
        if not self.int8:
            return self.constant(name, value)
        scale, zero = affine_scale(float(value.min()), float(value.max()))
        quantized = np.clip(np.rint(value / scale) + zero, -128, 127).astype(np.int8)
        return self.constant(name, quantized, scale, zero)

    def emit(self, kind, inputs, output, shape, options=None):
        """One operator; `inputs` are tensor names or indices."""
        if kind not in self.codes:
            self.codes.append(kind)
        result = self.activation_tensor(output, shape)
        operator = schema.OperatorT(
            opcodeIndex=self.codes.index(kind), outputs=np.asarray([result], np.int32),
            inputs=np.asarray([i if isinstance(i, int) else self.index[i] for i in inputs], np.int32))
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        self.operators.append(operator)

    def padded(self, node):
        """(name of the input, which of LiteRT's two rules) after a PAD where neither rule gives this padding."""
        source = node.inputs[0]
        _, height, width, channels = self.graph.shapes[source]
        same = (*same_padding(height, node.window[0], node.stride[0], node.dilation[0]),
                *same_padding(width, node.window[1], node.stride[1], node.dilation[1]))
        if node.padding == same:
            return source, schema.Padding.SAME
        if not any(node.padding):
            return source, schema.Padding.VALID
        if node.op == "avg_pool" and not node.count_padding:
            raise ValueError("LiteRT cannot leave this padding out of an average")
        if node.op == "max_pool" and not self.not_negative(source):
            raise ValueError("padding with zeros would change this maximum")
        top, bottom, left, right = node.padding
        name = node.output + "_padded"
        if self.int8:
            self.scales[name] = self.scales[source]
        paddings = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        shape = (self.graph.shapes[source][0], height + top + bottom, width + left + right, channels)
        self.emit("PAD", [source, self.constant(name + "_amounts", paddings)], name, shape, schema.PadOptionsT())
        return name, schema.Padding.VALID

    def not_negative(self, name):
        return any(n.output == name and (n.activation or n.op in ("relu", "relu6")) for n in self.graph.nodes)

    def convolution(self, node, shape):
        source, rule = self.padded(node)
        if node.window == (1, 1) and not any(node.padding):
            rule = schema.Padding.SAME
        common = {"padding": rule, "strideH": node.stride[0], "strideW": node.stride[1],
                  "dilationHFactor": node.dilation[0], "dilationWFactor": node.dilation[1],
                  "fusedActivationFunction": FUSED_NAMES[node.activation]}
        if self.graph.depthwise(node):
            kh, kw, _, channels = node.weight.shape
            multiplier = channels // self.graph.shapes[node.inputs[0]][3]
            weights = self.weights(node.output, node.weight.reshape(1, kh, kw, channels), node.bias, node.inputs[0], 3)
            self.emit("DEPTHWISE_CONV_2D", [source, *weights], node.output, shape,
                      schema.DepthwiseConv2DOptionsT(depthMultiplier=multiplier, **common))
        elif node.groups == 1:
            weights = self.weights(node.output, node.weight.transpose(3, 0, 1, 2), node.bias, node.inputs[0], 0)
            self.emit("CONV_2D", [source, *weights], node.output, shape, schema.Conv2DOptionsT(**common))
        else:
            raise ValueError("grouped convolutions that are not depthwise are not handled")

    def pool(self, node, shape):
        source, rule = self.padded(node)
        for axis in (1, 2):
            extent = self.graph.shapes[node.inputs[0]][axis] + sum(node.padding[2 * axis - 2:2 * axis])
            if shape[axis] != (extent - node.window[axis - 1]) // node.stride[axis - 1] + 1:
                raise ValueError("LiteRT has no pooling that rounds up")
        kind = "MAX_POOL_2D" if node.op == "max_pool" else "AVERAGE_POOL_2D"
        self.emit(kind, [source], node.output, shape, schema.Pool2DOptionsT(
            padding=rule, strideH=node.stride[0], strideW=node.stride[1], filterHeight=node.window[0],
            filterWidth=node.window[1]))

    def hard_sigmoid(self, source, output, shape):
        inner = output + "_shifted"
        if self.int8:
            self.scales[inner], self.scales[output] = affine_scale(0, 6), affine_scale(0, 1)
        self.emit("ADD", [source, self.scalar("three", 3)], inner, shape,
                  schema.AddOptionsT(fusedActivationFunction=FUSED_NAMES["relu6"]))
        self.emit("MUL", [inner, self.scalar("sixth", 1 / 6)], output, shape, schema.MulOptionsT())

    def hard_swish(self, node, shape):
        """XNNPACK has it in f32 only. In int8 the op would cut the network into parts that go back and forth."""
        if not self.int8:
            self.emit("HARD_SWISH", node.inputs, node.output, shape)
            return
        self.hard_sigmoid(node.inputs[0], node.output + "_gate", shape)
        self.emit("MUL", [*node.inputs, node.output + "_gate"], node.output, shape, schema.MulOptionsT())

    def node(self, node):
        shape = self.graph.shapes[node.output]
        fused = FUSED_NAMES[node.activation]
        if node.op == "conv":
            self.convolution(node, shape)
        elif node.op in ("max_pool", "avg_pool"):
            self.pool(node, shape)
        elif node.op == "dense":
            weights = self.weights(node.output, node.weight.T, node.bias, node.inputs[0], 0)
            self.emit("FULLY_CONNECTED", [*node.inputs, *weights], node.output, shape,
                      schema.FullyConnectedOptionsT(fusedActivationFunction=fused))
        elif node.op == "add":
            self.emit("ADD", node.inputs, node.output, shape, schema.AddOptionsT(fusedActivationFunction=fused))
        elif node.op == "multiply":
            self.emit("MUL", node.inputs, node.output, shape, schema.MulOptionsT())
        elif node.op == "affine":
            if self.int8:
                raise ValueError("int8 of a network that normalises its own input is not handled")
            self.emit("MUL", [*node.inputs, self.scalar(node.output + "_scale", node.weight)], node.output + "_scaled",
                      shape, schema.MulOptionsT())
            self.emit("ADD", [node.output + "_scaled", self.scalar(node.output + "_shift", node.bias)], node.output,
                      shape, schema.AddOptionsT())
        elif node.op == "concat":
            self.emit("CONCATENATION", node.inputs, node.output, shape, schema.ConcatenationOptionsT(axis=3))
        elif node.op == "mean":
            axes = self.constant("image_axes", np.array([1, 2], np.int32))
            self.emit("MEAN", [*node.inputs, axes], node.output, shape, schema.ReducerOptionsT(keepDims=node.keep_axes))
        elif node.op == "silu":
            self.emit("LOGISTIC", node.inputs, node.output + "_sigmoid", shape)
            self.emit("MUL", [*node.inputs, node.output + "_sigmoid"], node.output, shape, schema.MulOptionsT())
        elif node.op == "hard_sigmoid":
            self.hard_sigmoid(node.inputs[0], node.output, shape)
        elif node.op == "hard_swish":
            self.hard_swish(node, shape)
        elif node.op == "sigmoid":
            self.emit("LOGISTIC", node.inputs, node.output, shape)
        else:
            self.emit({"relu": "RELU", "relu6": "RELU6"}[node.op], node.inputs, node.output, shape)

    def bytes(self):
        subgraph = schema.SubGraphT(
            tensors=self.tensors, inputs=np.asarray([self.index[self.graph.input]], np.int32),
            outputs=np.asarray([self.index[self.graph.output]], np.int32), operators=self.operators, name="main")
        codes = []
        for kind in self.codes:
            value = getattr(schema.BuiltinOperator, kind)
            codes.append(schema.OperatorCodeT(deprecatedBuiltinCode=min(value, 127), builtinCode=value,
                                              version=INT8_VERSIONS.get(kind, 1) if self.int8 else 1))
        model = schema.ModelT(version=3, operatorCodes=codes, subgraphs=[subgraph], buffers=self.buffers,
                              description="fovea bench/peers")
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def to_tflite(graph, ranges=None):
    """`ranges`: (least, greatest) of the input and of every node's output, for int8."""
    return Writer(graph, ranges).bytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--batch", type=int, default=1)
    args = parser.parse_args()
    with open(args.out, "wb") as file:
        file.write(to_tflite(read_graph(args.model, args.batch)))


if __name__ == "__main__":
    main()
