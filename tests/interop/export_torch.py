"""Weights that fovea writes, in torchvision and timm: they load with strict=True and give the same logits.

    python tests/interop/export_torch.py build/release/bin/fovea [PART OF A CASE'S NAME ...]

"trained" cases are trained here for some steps on generated pictures, so that every weight and statistic has moved.
The others come from the framework with random weights, go through a .fovea file and come back: bit for bit.
Prints SKIP where PyTorch is not installed.
"""

import sys

import numpy as np

try:
    import torch
    from zoo_torch import settle
except ImportError as error:
    print(f"SKIP: {error}")
    sys.exit(77)
from fovea_interop import Fovea, Report, read_safetensors, write_safetensors

CLASSES = 5


def torchvision(name, **kwargs):
    import torchvision

    return getattr(torchvision.models, name)(weights=None, num_classes=CLASSES, **kwargs)


def timm(name):
    import timm as library

    return library.create_model(name, num_classes=CLASSES)


# The zoo's name, the layout to write, the network there, picture size.
TRAINED = [
    ("mobilenet_v2", "torchvision", lambda: torchvision("mobilenet_v2"), 64),
    ("mobilenet_v2", "timm", lambda: timm("mobilenetv2_100"), 64),
    ("resnet50", "torchvision", lambda: torchvision("resnet50"), 64),
    ("mobilenet_v3_small", "torchvision", lambda: torchvision("mobilenet_v3_small"), 64),
    ("efficientnet_b0", "torchvision", lambda: torchvision("efficientnet_b0"), 64),
]
# More words for the first reading, where names do not tell a network's conventions.
ROUND_TRIP = [
    ("mobilenet_v2", "torchvision", lambda: torchvision("mobilenet_v2"), 97, ()),
    ("mobilenet_v2", "timm", lambda: timm("mobilenetv2_100"), 96, ()),
    ("mobilenet_v2_110d", "timm", lambda: timm("mobilenetv2_110d"), 64, ()),
    ("mobilenet_v1", "timm", lambda: timm("mobilenetv1_100"), 64, ()),
    ("mobilenet_v3_large", "torchvision", lambda: torchvision("mobilenet_v3_large"), 96, ()),
    ("mobilenet_v3_small", "timm", lambda: timm("mobilenetv3_small_100"), 96, ()),
    ("mobilenet_v3_large tf", "timm", lambda: timm("tf_mobilenetv3_large_100"), 97, ("--variant", "tf")),
    ("efficientnet_b0", "torchvision", lambda: torchvision("efficientnet_b0"), 96, ()),
    ("efficientnet_b0", "timm", lambda: timm("efficientnet_b0"), 96, ()),
    ("efficientnet_b1 tf", "timm", lambda: timm("tf_efficientnet_b1"), 97, ("--variant", "tf")),
    ("efficientnet_b5", "torchvision", lambda: torchvision("efficientnet_b5"), 64, ()),
    ("efficientnet_lite0 tf", "timm", lambda: timm("tf_efficientnet_lite0"), 97, ("--variant", "tf")),
    ("efficientnet_lite0", "timm", lambda: timm("efficientnet_lite0"), 96, ()),
    ("resnet18", "torchvision", lambda: torchvision("resnet18"), 64, ()),
    ("resnet50", "torchvision", lambda: torchvision("resnet50"), 64, ()),
    ("inception_v3", "torchvision", lambda: torchvision("inception_v3", aux_logits=False, init_weights=False), 139, ()),
]


def make_pictures(fovea):
    """Noise of a colour per class, as .bmp: a format that needs no library."""
    folder = fovea.folder / "pictures"
    random = np.random.default_rng(3)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
        for i in range(8):
            pixels = (random.random((24, 24, 3)) * 120 + np.array([label % 2, label // 2 % 2, label // 4]) * 120).astype(np.uint8)
            header = b"BM" + (54 + pixels.size).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
            header += b"".join(n.to_bytes(4, "little") for n in (40, 24, 24)) + (1).to_bytes(2, "little") + (24).to_bytes(2, "little")
            (folder / f"class{label}" / f"{i}.bmp").write_bytes(header + bytes(24) + pixels.tobytes())
    return folder


def compare(report, fovea, name, model, layout, make, size):
    """A model file of ours, written in `layout`, against the network there."""
    written = fovea.folder / "written.safetensors"
    fovea("convert", model, "--layout", layout, "--out", written, "-q")
    weights = read_safetensors(written)
    network = make()
    network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in weights.items()}, strict=True)
    network.eval()
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(5)) * 4 - 2
    ours, said = fovea.logits(model, x.permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        single = network(x).numpy()
        theirs = network.double()(x.double()).numpy()
    # Random weights can amplify rounding beyond 1e-4; then PyTorch's own rounding is the measure.
    noise = float(np.abs(single - theirs).max() / theirs.std())
    report.compare(name, ours, theirs, tolerance=max(1e-4, 3 * noise), note=f"(PyTorch itself {noise:.1e}) {said}")
    # And back: what we wrote is what we read.
    back, _ = fovea.logits(written, x.permute(0, 2, 3, 1).numpy(), *(["--variant", "tf"] if name.endswith("tf") else []))
    report.compare(f"{name}, read again", back, ours, tolerance=0)
    return weights


def main():
    fovea, report = Fovea(sys.argv[1]), Report()
    wanted = sys.argv[2:]
    pictures, trained = make_pictures(fovea), {}
    for model, layout, make, size in TRAINED:
        name = f"trained {model} {layout}"
        if wanted and not any(w in name for w in wanted):
            continue
        try:
            if model not in trained:
                out = fovea.folder / f"run-{model}"
                fovea("train", pictures, "--model", model, "--image-size", size, "--epochs", 2, "--batch-size", 8, "--augment", "none",
                      "--val", 0, "--out", out, "-q")
                trained[model] = out / "model.fovea"
            compare(report, fovea, name, trained[model], layout, make, size)
        except (RuntimeError, ImportError) as error:
            report.fail(name, error)
    for model, layout, make, size, options in ROUND_TRIP:
        name = f"{layout} {model}"
        if wanted and not any(w in name for w in wanted):
            continue
        try:
            torch.manual_seed(1)
            network = make()
            settle(network, torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(2)) * 4 - 2)
            state = {k: v.numpy() for k, v in network.state_dict().items()}
            write_safetensors(fovea.folder / "theirs.safetensors", state)
            fovea("convert", fovea.folder / "theirs.safetensors", "--out", fovea.folder / "ours.fovea", "-q", *options)
            weights = compare(report, fovea, name, fovea.folder / "ours.fovea", layout, make, size)
            for key, value in state.items():
                if not key.endswith("num_batches_tracked") and not np.array_equal(weights[key], value):
                    report.fail(name, f"{key} comes back otherwise")
        except (RuntimeError, ImportError, KeyError) as error:
            report.fail(name, error)
    return report.status()


if __name__ == "__main__":
    sys.exit(main())
