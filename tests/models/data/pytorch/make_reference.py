#!/usr/bin/env python3
"""Writes the PyTorch files beside this one. Needs torch (2.15.0 made the committed ones).

Every tensor of a network holds a formula's values: element i of NAME is float(2*uniform(NAME, i) - 1), see
models/weights/formula.h; integers are floor(100*uniform).
"""
import os
import zipfile

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))


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


def values(name, shape, dtype=torch.float32):
    u = uniform(name, int(np.prod(shape, dtype=int)))
    v = 2 * u - 1 if dtype.is_floating_point else np.floor(100 * u)
    return torch.from_numpy(v.astype(np.float32)).to(dtype).reshape(shape)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(4, 2, bias=False)
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).mean((2, 3)))


def network():
    net = Net().eval()
    state = {name: values(name, t.shape, t.dtype) for name, t in net.state_dict().items()}
    net.load_state_dict(state)
    return net


def odd():
    """What a state_dict may hold besides plain tensors."""
    tagged = values("tagged", (2,))
    tagged.tag = "x"
    with_state = torch.nn.Parameter(values("parameter with state", (2,)))
    with_state.extra = 3
    return {
        "plain": values("plain", (2, 3)),
        "short": values("short", (3,), torch.int16),
        "expanded": values("expanded", (3,)).expand(2, 3),
        "reversed": values("reversed", (2, 3)).t().contiguous().t(),
        "parameter": torch.nn.Parameter(values("parameter", (2,))),
        "parameter with state": with_state,
        "tagged": tagged,
        "complex": torch.zeros(3, dtype=torch.complex64),
        "quantized": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "quantized by channel": torch.quantize_per_channel(torch.ones(4, 2), torch.ones(4), torch.zeros(4), 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.zeros(3, device="meta"),
        "array": np.zeros(3),
        "number": np.float32(3),
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "none": None,
        "set": {1, 2},
        "storage": torch.zeros(3).untyped_storage(),
    }


def script(net):
    """TorchScript without its code, which is not read, and which carries the paths of the machine it was made on."""
    path = os.path.join(HERE, "script.pth")
    torch.jit.script(net).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {m.filename: archive.read(m) for m in archive.infolist() if "/code/" not in m.filename}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def save(name, value, **options):
    torch.save(value, os.path.join(HERE, name + ".pth"), **options)


if __name__ == "__main__":
    net = network()
    state = net.state_dict()
    old = {"_use_new_zipfile_serialization": False}
    save("whole", net)
    save("parallel", torch.nn.DataParallel(net))
    save("protocol5", state, pickle_protocol=5)
    save("protocol4_old", state, pickle_protocol=4, **old)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.zeros(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    net = network()
    averaged = torch.optim.swa_utils.AveragedModel(net)
    zeros = {name: torch.zeros_like(t) for name, t in state.items()}
    save("averaged", {"model": zeros, "model_ema": averaged.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3})
    script(net)
    save("odd", {**odd(), "u16": torch.ones(3, dtype=torch.uint16), "f8": torch.ones(3).to(torch.float8_e4m3fn)})
    save("odd_old", odd(), **old)
    torch.serialization.set_crc32_options(False)
    save("unchecked", network().state_dict())
