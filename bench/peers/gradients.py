#!/usr/bin/env python3
"""How far gradients of MobileNetV2 in f32 are from those in f64: PyTorch's and fovea's fused training pass.

The same weights (drawn by PyTorch), pictures (noise) and gradient of the features for all three; the error is the norm
of the difference over all parameters, in terms of the norm of the f64 gradients. Nearly all of it comes from values that
lie so near a kink of ReLU6 that rounding decides on which side, so that one draw says little: of all draws the geometric
means are compared. Exit 1 where fovea's is larger than PyTorch's.

    python3 bench/peers/gradients.py [--batch 4] [--seeds 8]       # needs torch, torchvision, safetensors
"""
import argparse
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]


def gradients(state, x, seed, dtype):
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(state)
    model = model.to(dtype).train()
    features = model.features(x.to(dtype)).mean([2, 3])
    features.backward(seed.to(dtype))
    return {name: p.grad.double() for name, p in model.features.named_parameters(prefix="features")}


def norm(tensors):
    return sum(float((t**2).sum()) for t in tensors) ** 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/bin/gradients")
    args = parser.parse_args()
    torch.set_num_threads(2)
    ratios = []
    for number in range(args.seeds):
        torch.manual_seed(number)
        state = torchvision.models.mobilenet_v2().state_dict()
        x, seed = torch.randn(args.batch, 3, 224, 224), torch.randn(args.batch, 1280)
        exact = gradients(state, x, seed, torch.float64)
        single = gradients(state, x, seed, torch.float32)
        with tempfile.TemporaryDirectory() as folder:
            paths = [f"{folder}/{name}" for name in ("weights.safetensors", "x", "seed", "out.safetensors")]
            save_file({k: v.contiguous() for k, v in state.items()}, paths[0])
            x.permute(0, 2, 3, 1).contiguous().numpy().tofile(paths[1])
            seed.numpy().tofile(paths[2])
            subprocess.run([str(args.program), *paths], check=True)
            ours = load_file(paths[3])
        size = norm(exact.values())
        theirs = norm(single[k] - exact[k] for k in exact) / size
        fused = norm(ours[k].double() - exact[k] for k in exact) / size
        print(f"seed {number}: PyTorch f32 {theirs:.2e}, fovea {fused:.2e} ({fused / theirs:.2f} times)")
        ratios.append(fused / theirs)
    ratio = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean over {args.seeds} draws: fovea's error is {ratio:.2f} times PyTorch's")
    return 1 if ratio > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
