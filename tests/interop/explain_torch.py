"""Maps of `fovea explain` against PyTorch's, on the real EfficientNet-Lite0 (`fovea weights get efficientnet_lite0`).

    python tests/interop/explain_torch.py build/release/bin/fovea PHOTOGRAPH ... [--write tests/insight/data/lite0.safetensors]

Needs torch, timm and Pillow; integrated gradients come from Captum where it is installed. PyTorch computes in double
precision from the picture on: decoding, resizing, normalisation, network, gradients. An error is the largest difference
over the largest value of PyTorch's map, at most 1e-3. (PyTorch's integrated gradients in single precision differ from
its own in double by up to 1.7e-2: rounding flips single ReLUs.) --write keeps what tests/insight compares with.
"""

import argparse
import pathlib
import sys

import numpy as np
import timm
import torch
from fovea_interop import Fovea, Report, read_safetensors, write_safetensors
from PIL import Image

BOUND = 1e-3


def network(fovea):
    weights = fovea.folder / "timm.safetensors"
    fovea("convert", "efficientnet_lite0", "--layout", "timm", "--out", weights)
    state = {k: torch.from_numpy(v.copy()) for k, v in read_safetensors(weights).items()}
    model = timm.create_model("tf_efficientnet_lite0", num_classes=1000)
    wanted = {k for k in model.state_dict() if not k.endswith("num_batches_tracked")}
    assert wanted == {k for k in state if not k.endswith("num_batches_tracked")}, "names differ"
    model.load_state_dict(state, strict=False)
    return model.double().eval()


def prepared(path):
    """Shorter side to 256 (bicubic), centre crop of 224, (x - 127) / 128."""
    picture = Image.open(path).convert("RGB")
    w, h = picture.size
    size = (256, int(256 * h / w)) if w < h else (int(256 * w / h), 256)
    picture = picture.resize(size, Image.BICUBIC)
    left, top = (int(round((s - 224) / 2)) for s in picture.size)
    x = np.asarray(picture.crop((left, top, left + 224, top + 224)), np.float64)
    return torch.from_numpy((x - 127) / 128).permute(2, 0, 1)[None]


def cams(model, x):
    """Raw maps by method, and the class."""
    features = model.forward_features(x).detach().requires_grad_()  # after the last convolution, its norm and ReLU6
    logits = model.forward_head(features)
    target = int(logits.argmax())
    (g,) = torch.autograd.grad(logits[0, target], features)
    a, g = features[0].detach(), g[0]
    maps = {"gradcam": (g.mean((1, 2))[:, None, None] * a).sum(0).relu()}
    denominator = 2 * g**2 + (a.sum((1, 2), keepdim=True) * g**3)
    alpha = torch.where(g != 0, g**2 / torch.where(denominator == 0, 1.0, denominator), 0.0)
    maps["gradcam++"] = ((alpha * g.relu()).sum((1, 2))[:, None, None] * a).sum(0).relu()
    flat = a.reshape(a.shape[0], -1).T  # positions × channels
    u, s, vt = torch.linalg.svd(flat, full_matrices=False)
    first = flat @ vt[0]
    first = first * torch.sign(first @ flat.mean(1))
    maps["eigencam"] = first.reshape(a.shape[1:]).relu()
    return target, float(torch.softmax(logits, 1)[0, target].detach()), {k: v.detach().numpy() for k, v in maps.items()}


def score_cam(model, x, target):
    a = model.forward_features(x)[0].detach()
    total = torch.zeros(a.shape[1:], dtype=torch.float64)
    for channel in a:
        if channel.max() == channel.min():
            continue
        mask = (channel - channel.min()) / (channel.max() - channel.min())
        mask = torch.nn.functional.interpolate(mask[None, None], x.shape[2:], mode="bilinear", align_corners=False)
        with torch.no_grad():
            total += torch.softmax(model(x * mask), 1)[0, target] * channel
    return total.relu().numpy()


def integrated_gradients(model, x, target, steps=50):
    baseline = torch.full_like(x, -127 / 128)
    try:
        from captum.attr import IntegratedGradients

        with_captum = IntegratedGradients(model).attribute(
            x, baseline, target=target, n_steps=steps, method="riemann_middle", internal_batch_size=10
        )
        return with_captum[0].permute(1, 2, 0).detach().numpy()
    except ImportError:
        total = torch.zeros_like(x)
        for k in range(steps):
            point = (baseline + (k + 0.5) / steps * (x - baseline)).requires_grad_()
            total += torch.autograd.grad(model(point)[0, target], point)[0]
        return (total / steps * (x - baseline))[0].permute(1, 2, 0).numpy()


def occlusion(model, x, target, window=32, stride=16):
    """Mean over the squares that cover a pixel of the probability that goes with them; squares reach over the edges."""
    side = x.shape[-1]
    begins = range(stride - window, side, stride)
    lost, times = np.zeros((side, side)), np.zeros((side, side))
    with torch.no_grad():
        whole = torch.softmax(model(x), 1)[0, target]
        for top in begins:
            for left in begins:
                part = (slice(max(0, top), top + window), slice(max(0, left), left + window))
                y = x.clone()
                y[0][(slice(None), *part)] = 0
                lost[part] += float(whole - torch.softmax(model(y), 1)[0, target])
                times[part] += 1
    return lost / times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fovea")
    parser.add_argument("photographs", nargs="+")
    parser.add_argument("--write")
    parser.add_argument("--slow", action="store_true", help="Score-CAM and occlusion too")
    options = parser.parse_args()
    fovea, report = Fovea(options.fovea), Report()
    model = network(fovea)
    golden = {}

    def compare(photo, method, name, theirs, *more):
        fovea("explain", "efficientnet_lite0", photo, "--method", method, "--out", fovea.folder, "-q", *more)
        ours = read_safetensors(fovea.folder / f"{pathlib.Path(photo).stem}.{method}.safetensors")[name].astype(np.float64)
        error = np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)) if ours.shape == theirs.shape else np.inf
        line = f"{pathlib.Path(photo).stem} {method} {name}"
        if error <= BOUND:
            print(f"ok    {line:48} {error:.1e}", flush=True)
        else:
            report.fail(line, f"differs by {error:.1e} of the largest value")

    for photo in options.photographs:
        x = prepared(photo)
        target, probability, maps = cams(model, x)
        attribution = integrated_gradients(model, x, target)
        for method, theirs in maps.items():
            compare(photo, method, "raw", theirs)
        full = torch.nn.functional.interpolate(torch.from_numpy(maps["gradcam"])[None, None], (224, 224), mode="bilinear", align_corners=False)
        compare(photo, "gradcam", "map", full[0, 0].numpy())
        compare(photo, "integrated-gradients", "raw", attribution)
        compare(photo, "integrated-gradients", "map", attribution.sum(2))
        if options.slow:
            compare(photo, "scorecam", "raw", score_cam(model, x, target))
            compare(photo, "occlusion", "map", occlusion(model, x, target))
        stem = pathlib.Path(photo).stem
        for method, theirs in maps.items():
            golden[f"{stem}.{method}"] = theirs.astype(np.float32)
        # With 8 steps, so that the test takes seconds; the comparison above has the default's 50.
        few = integrated_gradients(model, x, target, steps=8)
        # Every pixel would be 600 KB a photograph: sums over squares of 8×8, and a few rows as they are.
        golden[f"{stem}.ig.squares"] = few.sum(2).reshape(28, 8, 28, 8).sum((1, 3)).astype(np.float32)
        golden[f"{stem}.ig.rows"] = few[::56].astype(np.float32)
        golden[f"{stem}.ig.largest"] = np.array([np.abs(few).max(), np.abs(few.sum(2)).max()], np.float32)
        golden[f"{stem}.class"] = np.array([target], np.int64)
        golden[f"{stem}.probability"] = np.array([probability], np.float32)
    if options.write:
        write_safetensors(options.write, golden)
    return report.status()


if __name__ == "__main__":
    sys.exit(main())
