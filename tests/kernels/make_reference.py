#!/usr/bin/env python3
"""Writes tests/kernels/data/torch.safetensors: what PyTorch computes, in double, for torch_test.cc.

Run with PyTorch 2.x and NumPy; the results are committed. Tensors are named <case>.<operand> and stored NHWC (weights of a
transposed convolution as [kh, kw, out/groups, in]); the metadata key "cases" holds the parameters of each case as JSON.
Inputs are multiples of 1/64 so that they are exact in every type; what is exact in f32 is stored so. No ties where order would matter.
"""

import json
import pathlib
import struct

import numpy as np
import torch
import torch.nn.functional as F

tensors, cases = {}, []
generator = torch.Generator().manual_seed(20240601)


def values(*shape, spread=4.0):
    x = (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1) * spread
    return (torch.round(x * 64) / 64).requires_grad_()


def nhwc(t):
    return t.permute(0, 2, 3, 1) if t.dim() == 4 else t


def save(name, params, **operands):
    cases.append({"name": name, **params})
    for key, t in operands.items():
        if t is not None:
            tensors[f"{name}.{key}"] = np.ascontiguousarray(t.detach().numpy())


def gradients(y, *inputs):
    dy = values(*y.shape, spread=1.0).detach()
    return dy, torch.autograd.grad(y, inputs, dy)


# ---- convolution and transposed convolution
index = 0
for groups, stride, pad, dilation, bias in [(1, 1, 0, 1, True), (1, 2, 1, 1, True), (2, 1, 1, 2, False), (4, 2, 1, 1, True)]:
    x, w = values(1, 4, 7, 6), values(8, 4 // groups, 3, 3, spread=1.0)
    b = values(8, spread=1.0) if bias else None
    y = F.conv2d(x, w, b, stride, pad, dilation, groups)
    dy, (dx, dw) = gradients(y, x, w)
    save(f"conv{index}", {"op": "conv2d", "groups": groups, "stride": stride, "pad": pad, "dilation": dilation}, x=nhwc(x),
         w=w.permute(2, 3, 1, 0), bias=b, y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx), dw=dw.permute(2, 3, 1, 0))
    index += 1
index = 0
for groups, stride, pad, dilation, extra in [(1, 1, 0, 1, 0), (1, 2, 1, 1, 1), (2, 3, 1, 1, 2), (2, 2, 2, 2, 1)]:
    x, w, b = values(1, 4, 5, 3), values(4, 6 // groups, 3, 3, spread=1.0), values(6, spread=1.0)
    y = F.conv_transpose2d(x, w, b, stride, pad, extra, groups, dilation)
    dy, (dx, dw, db) = gradients(y, x, w, b)
    save(f"transposed{index}", {"op": "conv_transpose2d", "groups": groups, "stride": stride, "pad": pad, "dilation": dilation,
                                "output_padding": extra}, x=nhwc(x), w=w.permute(2, 3, 1, 0), bias=b, y=nhwc(y), dy=nhwc(dy),
         dx=nhwc(dx), dw=dw.permute(2, 3, 1, 0), dbias=db)
    index += 1

# ---- pooling
index = 0
for window, stride, pad in [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0), (5, 3, 2)]:
    for ceil in (False, True):
        # Every value once: no ties.
        x = (torch.randperm(2 * 8 * 7, generator=generator).double() / 64).reshape(1, 2, 8, 7).requires_grad_()
        y = F.max_pool2d(x, window, stride, pad, ceil_mode=ceil)
        dy, (dx,) = gradients(y, x)
        save(f"max{index}", {"op": "max_pool", "window": window, "stride": stride, "pad": pad, "ceil": ceil}, x=nhwc(x), y=nhwc(y),
             dy=nhwc(dy), dx=nhwc(dx))
        for include in (False, True):
            y = F.avg_pool2d(x, window, stride, pad, ceil_mode=ceil, count_include_pad=include)
            dy, (dx,) = gradients(y, x)
            save(f"average{index}{int(include)}", {"op": "average_pool", "window": window, "stride": stride, "pad": pad, "ceil": ceil,
                                                   "include": include}, x=nhwc(x), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx))
        index += 1
for index, (size, out) in enumerate([((7, 5), (3, 2)), ((6, 6), (4, 5)), ((3, 4), (7, 4)), ((5, 5), (1, 1))]):
    x = values(1, 2, *size)
    y = F.adaptive_avg_pool2d(x, out)
    dy, (dx,) = gradients(y, x)
    save(f"adaptive{index}", {"op": "adaptive_average_pool"}, x=nhwc(x), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx))

# ---- normalisation
x, g, b = values(3, 4, 4, 3), values(4), values(4)
y = F.batch_norm(x, None, None, g, b, True, 0.1, 1e-3)
dy, (dx, dg, db) = gradients(y, x, g, b)
save("batch_norm0", {"op": "batch_norm", "training": True, "epsilon": 1e-3}, x=nhwc(x), gamma=g, beta=b, y=nhwc(y), dy=nhwc(dy),
     dx=nhwc(dx), dgamma=dg, dbeta=db, mean=x.mean((0, 2, 3)), variance=x.var((0, 2, 3), unbiased=False))
y = F.relu6(F.batch_norm(x, None, None, g, b, True, 0.1, 1e-3))
dy, (dx, dg, db) = gradients(y, x, g, b)
save("batch_norm1", {"op": "batch_norm", "training": True, "epsilon": 1e-3, "activation": "relu6"}, x=nhwc(x), gamma=g, beta=b,
     y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx), dgamma=dg, dbeta=db, mean=x.mean((0, 2, 3)), variance=x.var((0, 2, 3), unbiased=False))
mean, variance = values(4).detach(), (values(4).detach().abs() + 0.5)
y = F.silu(F.batch_norm(x, mean, variance, g, b, False, 0.1, 1e-5))
dy, (dx, dg, db) = gradients(y, x, g, b)
save("batch_norm2", {"op": "batch_norm", "training": False, "epsilon": 1e-5, "activation": "silu"}, x=nhwc(x), gamma=g, beta=b,
     y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx), dgamma=dg, dbeta=db, mean=mean, variance=variance)
x, g, b = values(5, 3, 7), values(7), values(7)
y = F.layer_norm(x, (7,), g, b, 1e-6)
dy, (dx, dg, db) = gradients(y, x, g, b)
save("layer_norm0", {"op": "layer_norm", "epsilon": 1e-6}, x=x, gamma=g, beta=b, y=y, dy=dy, dx=dx, dgamma=dg, dbeta=db)
x, g, b = values(2, 6, 3, 4), values(6), values(6)
for groups in (1, 2, 6):
    y = F.group_norm(x, groups, g, b, 1e-5)
    dy, (dx, dg, db) = gradients(y, x, g, b)
    save(f"group_norm{groups}", {"op": "group_norm", "groups": groups, "epsilon": 1e-5}, x=nhwc(x), gamma=g, beta=b, y=nhwc(y), dy=nhwc(dy),
         dx=nhwc(dx), dgamma=dg, dbeta=db)

# ---- activations, at and around their kinks and far out
points = torch.tensor([-1000, -100, -30, -8, -6, -3.5, -3, -2.984375, -1, -0.5, -0.015625, 0, 0.015625, 0.5, 1, 2.984375, 3, 3.5, 5.984375, 6,
                       6.015625, 8, 30, 100, 1000], dtype=torch.float64)
# F.hardsigmoid multiplies gradients with a 1/6 in f32, hence its formula.
functions = {"none": lambda t: t * 1, "relu": F.relu, "relu6": F.relu6, "leaky_relu": lambda t: F.leaky_relu(t, 0.2),
             "sigmoid": torch.sigmoid, "silu": F.silu, "hard_swish": F.hardswish, "hard_sigmoid": lambda t: F.relu6(t + 3) / 6, "gelu": F.gelu,
             "gelu_tanh": lambda t: F.gelu(t, approximate="tanh"), "tanh": torch.tanh}
for name, function in functions.items():
    x = points.clone().requires_grad_()
    y = function(x)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    save(f"activation_{name}", {"op": "activation", "activation": name, "alpha": 0.2}, x=x, y=y, dx=dx)

# ---- softmax
x = torch.cat([values(4, 6), torch.tensor([[1e4, 0, -1e4, 9999, 0, 0], [-1e300, -1e300, -1e300, -1e300, -1e300, 0]], dtype=torch.float64)])
x = x.detach().requires_grad_()
for log, function in ((False, F.softmax), (True, F.log_softmax)):
    y = function(x, -1)
    dy, (dx,) = gradients(y, x)
    save(f"softmax{int(log)}", {"op": "softmax", "log": log}, x=x, y=y, dy=dy, dx=dx)

# ---- resize
index = 0
for mode, antialias, align in [("bilinear", True, False), ("bicubic", True, False), ("bilinear", False, False), ("bicubic", False, False),
                               ("bilinear", False, True), ("bicubic", False, True), ("nearest-exact", False, False)]:
    for out in ((3, 4), (7, 11), (13, 5), (1, 2)):
        x = values(1, 1, 7, 9)
        options = {} if mode == "nearest-exact" else {"align_corners": align, "antialias": antialias}
        y = F.interpolate(x, out, mode=mode, **options)
        dy, (dx,) = gradients(y, x)
        save(f"resize{index}", {"op": "resize", "filter": mode.replace("-exact", ""), "antialias": antialias, "align": align}, x=nhwc(x),
             y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx))
        index += 1

# ---- optimizers: three steps each
optimizers = {
    "sgd0": ("sgd", torch.optim.SGD, {"lr": 0.1}),
    "sgd1": ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "sgd2": ("sgd", torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam0": ("adam", torch.optim.Adam, {"lr": 0.01}),
    "adam1": ("adam", torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.1, "eps": 1e-3, "betas": (0.8, 0.99)}),
    "adamw0": ("adam", torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop0": ("rmsprop", torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "eps": 1e-3}),
    "rmsprop1": ("rmsprop", torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1}),
    "rmsprop2": ("rmsprop", torch.optim.RMSprop, {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "centered": True}),
}
for name, (op, make, options) in optimizers.items():
    start, grads = values(7), [values(7).detach() for _ in range(3)]
    p = torch.nn.Parameter(start.detach().clone())
    optimizer = make([p], **options)
    for g in grads:
        p.grad = g.clone()
        optimizer.step()
    plain = {k: v for k, v in options.items() if k != "betas"}
    if "betas" in options:
        plain["beta1"], plain["beta2"] = options["betas"]
    save(name, {"op": op, "decoupled": make is torch.optim.AdamW, **plain}, start=start, grads=torch.stack(grads), end=p)


def write(path):
    header, offset, blobs = {"__metadata__": {"cases": json.dumps(cases), "torch": torch.__version__.split("+")[0]}}, 0, []
    with np.errstate(over="ignore"):
        is_exact = {name: np.array_equal(a.astype("<f4").astype("<f8"), a) for name, a in tensors.items()}
    for name, array in sorted(tensors.items(), key=lambda item: is_exact[item[0]]):  # f64 first: all stay aligned
        exact = is_exact[name]
        blob = array.astype("<f4" if exact else "<f8").tobytes()
        header[name] = {"dtype": "F32" if exact else "F64", "shape": list(array.shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    print(path, path.stat().st_size, "bytes,", len(cases), "cases")


write(pathlib.Path(__file__).parent / "data" / "torch.safetensors")
