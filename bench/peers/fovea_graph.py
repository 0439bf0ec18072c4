"""Reads a .fovea model file into a plain graph that the writers of other formats share.

A .fovea file is safetensors whose metadata entry `fovea.ops` is the op list as JSON. What is done here is what every
exporter does: batch norms go into the convolution before them, ReLU and ReLU6 go into the op before them, dropout and
identities vanish. Everything is NHWC and HWIO as in fovea; the writers turn axes where they must.
"""
import collections
import dataclasses
import json

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
DTYPE_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
FUSED = ("relu", "relu6")  # what ONNX Runtime, OpenVINO and LiteRT put into the op before it
ACTIVATIONS = FUSED + ("sigmoid", "silu", "hard_sigmoid", "hard_swish")


@dataclasses.dataclass
class Node:
    """One op. `op` is conv, dense, add, multiply, affine, concat, max_pool, avg_pool, mean or an activation's name."""
    op: str
    inputs: list
    output: str
    activation: str = ""      # relu or relu6, fused
    weight: np.ndarray = None  # conv: HWIO; depthwise: H, W, 1, C; dense: in, out; affine: the scale of each channel
    bias: np.ndarray = None    # of each result channel; affine: the shift
    stride: tuple = (1, 1)
    window: tuple = (1, 1)
    dilation: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)  # top, bottom, left, right
    groups: int = 1
    count_padding: bool = False    # avg_pool: zeros of the padding count as pixels
    ceil_mode: bool = False
    keep_axes: bool = False        # mean: [N, 1, 1, C] instead of [N, C]
    norm: dict = None              # affine that is a batch norm: names of its statistics, gamma, beta and epsilon


@dataclasses.dataclass
class Graph:
    nodes: list
    shapes: dict  # name -> NHWC or NC, the batch included
    input: str
    output: str

    def depthwise(self, node):
        return node.op == "conv" and node.groups > 1 and node.groups == self.shapes[node.inputs[0]][-1]

    def multiply_adds(self):
        total = 0
        for node in self.nodes:
            if node.op == "conv":
                total += int(np.prod(self.shapes[node.output])) * int(np.prod(node.weight.shape[:3]))
            elif node.op == "dense":
                total += int(np.prod(self.shapes[node.output])) * node.weight.shape[0]
        return total


def read_safetensors(path):
    """(tensors by name, metadata)"""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def write_safetensors(path, tensors, metadata=None):
    header, offset = {"__metadata__": metadata} if metadata else {}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(tensor.tobytes())


def same_padding(extent, window, stride, dilation):
    """TensorFlow's rule: ceil(extent / stride) results, the odd pixel of padding at the end."""
    results = -(-extent // stride)
    total = max(0, (results - 1) * stride + (window - 1) * dilation + 1 - extent)
    return total // 2, total - total // 2


def padding_of(attributes, shape, window, stride, dilation):
    if attributes.get("padding_rule") == "tf_same":
        return (*same_padding(shape[1], window[0], stride[0], dilation[0]),
                *same_padding(shape[2], window[1], stride[1], dilation[1]))
    return tuple(attributes.get("padding", (0, 0, 0, 0)))


class Reader:
    def __init__(self, path, batch):
        self.tensors, metadata = read_safetensors(path)
        self.ops = json.loads(metadata["fovea.ops"])
        if len(self.ops["inputs"]) != 1 or len(self.ops["outputs"]) != 1:
            raise ValueError(f"{path}: a network with one input and one output is expected")
        self.batch = batch
        self.alias = {}
        self.graph = Graph([], {}, self.name(self.ops["inputs"][0]), "")
        self.shape(self.ops["inputs"][0])
        for node in self.ops["nodes"]:
            self.add(node)
        self.graph.output = self.name(self.ops["outputs"][0])

    def name(self, value):
        value = self.alias.get(value, value)
        return f"v{value}"

    def shape(self, value):
        """Of an activation, whose first extent is the batch; noted under its name."""
        shape = (self.batch, *self.ops["values"][value]["shape"][1:])
        self.graph.shapes[self.name(value)] = shape
        return shape

    def parameter_name(self, node, position):
        value = node["in"][position] if position < len(node["in"]) else -1
        return None if value < 0 else self.ops["values"][value]["name"]

    def parameter(self, node, position):
        name = self.parameter_name(node, position)
        return None if name is None else self.tensors[name].astype(np.float64)

    def add(self, node):
        kind, a = node["op"], node["attributes"]
        source, result = node["in"][0], node["out"][0]
        shape = self.ops["values"][source]["shape"]
        if kind in ("dropout", "identity"):
            self.alias[result] = self.alias.get(source, source)
            return
        made = Node(kind, [self.name(source)], self.name(result))
        if kind == "conv2d":
            made.op, made.weight, made.bias = "conv", self.parameter(node, 1), self.parameter(node, 2)
            made.stride, made.dilation, made.groups = tuple(a["stride"]), tuple(a["dilation"]), a["groups"]
            made.window = made.weight.shape[:2]
            made.padding = padding_of(a, shape, made.window, made.stride, made.dilation)
        elif kind == "dense":
            made.weight, made.bias = self.parameter(node, 1), self.parameter(node, 2)
        elif kind == "batch_norm":
            made.op = "affine"
            gamma, beta, mean, variance = (self.parameter(node, i) for i in (1, 2, 3, 4))
            made.weight = (1 if gamma is None else gamma) / np.sqrt(variance + a["epsilon"])
            made.bias = (0 if beta is None else beta) - mean * made.weight
            made.norm = {"mean": self.parameter_name(node, 3), "variance": self.parameter_name(node, 4),
                         "gamma": gamma, "beta": beta, "epsilon": a["epsilon"]}
        elif kind == "affine":
            made.weight, made.bias = np.full(shape[-1], a["scale"]), np.full(shape[-1], a["shift"])
        elif kind in ("max_pool2d", "avg_pool2d"):
            made.op = kind[:-2]
            made.window, made.stride, made.ceil_mode = tuple(a["window"]), tuple(a["stride"]), a["ceil_mode"]
            made.padding = padding_of(a, shape, made.window, made.stride, (1, 1))
            made.count_padding = a.get("count_include_pad", False)
        elif kind == "global_average_pool" or (kind == "adaptive_average_pool" and a["size"] == [1, 1]):
            made.op, made.keep_axes = "mean", kind == "adaptive_average_pool"
        elif kind in ("add", "multiply", "concat"):
            made.inputs = [self.name(v) for v in node["in"]]
            if kind == "concat" and a["axis"] not in (-1, 3):
                raise ValueError(f"{node['scope']}: concatenation along axis {a['axis']} is not handled")
        elif kind not in ACTIVATIONS:
            raise ValueError(f"{node['scope']}: op {kind} is not handled by these scripts")
        if made.weight is not None and made.bias is None:
            made.bias = np.zeros(made.weight.shape[-1])
        self.shape(result)
        self.append(made, a.get("activation", ""))

    def append(self, node, activation):
        """With its activation as a node of its own; fuse() puts it back where the peers can have it."""
        if activation and activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation} is not handled by these scripts")
        if activation:
            inner = node.output + "_linear"
            self.graph.shapes[inner] = self.graph.shapes[node.output]
            self.graph.nodes.append(dataclasses.replace(node, output=inner))
            self.graph.nodes.append(Node(activation, [inner], node.output))
        else:
            self.graph.nodes.append(node)


def fuse(graph):
    """Batch norms and affines into what computes their only input, then ReLU and ReLU6 likewise."""
    users = collections.Counter(name for node in graph.nodes for name in node.inputs)
    makers, kept = {}, []
    for node in graph.nodes:
        before = makers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        alone = before is not None and users[node.inputs[0]] == 1 and not before.activation
        if alone and node.op == "affine" and before.op in ("conv", "dense", "affine"):
            before.weight = before.weight * node.weight
            before.bias = before.bias * node.weight + node.bias
        elif alone and node.op in FUSED and before.op in ("conv", "dense", "add"):
            before.activation = node.op
        else:
            kept.append(node)
            makers[node.output] = node
            continue
        before.output = node.output
        makers[node.output] = before
    graph.nodes = kept
    return graph


def read_graph(path, batch=1, fused=True):
    graph = Reader(path, batch).graph
    return fuse(graph) if fused else graph
