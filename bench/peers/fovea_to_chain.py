"""Writes a graph as the file that onednn_chain runs: safetensors with the list of primitives in its metadata."""
import collections
import dataclasses
import json

import numpy as np

from fovea_graph import ACTIVATIONS, write_safetensors


def fused_activations(nodes):
    """oneDNN has every activation here as a post-op."""
    users = collections.Counter(name for node in nodes for name in node.inputs)
    makers, kept = {}, []
    for node in nodes:
        before = makers.get(node.inputs[0])
        if (node.op in ACTIVATIONS and before and users[node.inputs[0]] == 1 and not before.activation
                and before.op in ("conv", "dense", "add")):
            before.activation, before.output = node.op, node.output
            makers[node.output] = before
            continue
        kept.append(node)
        makers[node.output] = node
    return kept


def fused_sums(nodes):
    """node -> where its result is added: a convolution that computes into the memory of a residual not needed after."""
    users = collections.Counter(name for node in nodes for name in node.inputs)
    position = {node.output: i for i, node in enumerate(nodes)}
    last_use = {name: i for i, node in enumerate(nodes) for name in node.inputs}
    onto, dropped = {}, set()
    for i, node in enumerate(nodes):
        if node.op != "add":
            continue
        for name, other in (node.inputs, node.inputs[::-1]):
            maker = nodes[position[name]] if name in position else None
            if (maker and maker.op == "conv" and not maker.activation and users[name] == 1 and other in position
                    and position[other] < position[name] and last_use[other] == i
                    and not any(other in n.inputs for n in nodes[position[name]:i])):
                maker.output, maker.activation = node.output, node.activation
                onto[node.output] = other
                dropped.add(i)
                break
    return [node for i, node in enumerate(nodes) if i not in dropped], onto


def write_chain(graph, path):
    nodes = fused_activations([dataclasses.replace(node) for node in graph.nodes])
    nodes, onto = fused_sums(nodes)
    tensors, listed = {}, []
    for node in nodes:
        entry = {"op": node.op, "inputs": node.inputs, "output": node.output, "activation": node.activation,
                 "stride": node.stride, "window": node.window, "dilation": node.dilation, "padding": node.padding,
                 "groups": node.groups, "count_padding": node.count_padding, "onto": onto.get(node.output, "")}
        for name in ("weight", "bias"):
            value = getattr(node, name)
            if value is not None:
                entry[name] = f"{node.output}.{name}"
                tensors[entry[name]] = np.ascontiguousarray(value, np.float32)
        listed.append(entry)
    chain = {"nodes": listed, "shapes": graph.shapes, "input": graph.input, "output": graph.output}
    write_safetensors(path, tensors, {"chain": json.dumps(chain)})
