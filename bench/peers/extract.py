#!/usr/bin/env python3
"""Times feature extraction of a folder of pictures (decode, resize, forward) in PyTorch and fovea, side by side.

PyTorch: torchvision's ImageFolder and transforms (Pillow), a DataLoader with 0, 1 or 2 workers, inference mode,
channels_last, raised malloc thresholds. fovea: compute_features() with the compiled network (bench/extract.cc). Each
measurement is a process of its own that makes one pass first which does not count, and the candidates alternate round by
round. Both read the same files (from the page cache) and the same weights where a weight file is given; then the
features are compared, too. Weights are in the names of torchvision or timm (`fovea convert X --layout timm --out
X.safetensors` makes such files).

    python3 bench/peers/extract.py DATA                                  # mobilenet_v2, weights drawn at random
    python3 bench/peers/extract.py DATA --network efficientnet_lite0 --weights lite0.safetensors
    python3 bench/peers/extract.py DATA --check 1.5                      # exit 1 unless fovea reaches 1.5 x the best PyTorch
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from common import cpu_name, turned

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEEP_PAGES = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}


def parts_of(data):
    """The folders that hold class folders: train/ and val/, or the folder itself."""
    folder = pathlib.Path(data)
    parts = [folder / part for part in ("train", "val", "test") if (folder / part).is_dir()]
    return parts or [folder]


def worker(args):
    import timm
    import torch
    import torchvision
    from torchvision import transforms

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    bicubic = args.network.startswith("efficientnet")
    if bicubic:
        model = timm.create_model(args.network, num_classes=1000)
        config = timm.data.resolve_data_config({}, model=model)
        resize = int(config["input_size"][1] / config["crop_pct"])
        mean, std, side = config["mean"], config["std"], config["input_size"][1]
    else:
        model = getattr(torchvision.models, args.network)()
        resize, side, mean, std = 256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if args.weights and args.weights.endswith(".safetensors"):
        import safetensors.torch

        model.load_state_dict(safetensors.torch.load_file(args.weights))
    elif args.weights:
        model.load_state_dict(torch.load(args.weights, map_location="cpu", weights_only=True))
    model.classifier = torch.nn.Identity()
    model = model.eval().to(memory_format=torch.channels_last)
    mode = transforms.InterpolationMode.BICUBIC if bicubic else transforms.InterpolationMode.BILINEAR
    prepare = transforms.Compose([transforms.Resize(resize, interpolation=mode), transforms.CenterCrop(side),
                                  transforms.ToTensor(), transforms.Normalize(mean, std)])
    data = torch.utils.data.ConcatDataset([torchvision.datasets.ImageFolder(part, prepare) for part in parts_of(args.data)])
    loader = torch.utils.data.DataLoader(data, batch_size=args.batch, num_workers=args.workers)
    speeds, features = [], None
    for number in range(args.passes + 1):
        begin = time.perf_counter()
        with torch.inference_mode():
            features = torch.cat([model(x.contiguous(memory_format=torch.channels_last)) for x, _ in loader])
        if number > 0:
            speeds.append(len(data) / (time.perf_counter() - begin))
    if args.out:
        features.numpy().tofile(args.out)
    print(json.dumps({"images": len(data), "images_per_s": speeds}))


def measure(name, args, out):
    env = dict(os.environ)
    common = ["--threads", str(args.threads), "--batch", str(args.batch), "--passes", str(args.passes)]
    if name.startswith("fovea"):
        command = [str(args.extract), args.data, args.weights or args.network, *common, "--out", str(out), "--workers",
                   name[-1]]
        if "uncompiled" in name:
            command.append("--uncompiled")
    else:
        env.update(KEEP_PAGES)
        command = [sys.executable, __file__, args.data, "--worker", "--network", args.network, *common, "--workers",
                   name[-1], "--out", str(out)]
        if args.weights:
            command += ["--weights", args.weights]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{name}: {result.stderr.strip()[-2000:]}")
    return json.loads(result.stdout)["images_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--network", default="mobilenet_v2")
    parser.add_argument("--weights", help="a PyTorch weight file for both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", default="fovea-1,fovea-2,torch-0,torch-1,torch-2", help="candidates; the digit is the workers")
    parser.add_argument("--check", type=float, default=0)
    parser.add_argument("--extract", type=pathlib.Path, default=ROOT / "build/release/bin/extract")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args)
    names = args.only.split(",")
    speeds = {name: [] for name in names}
    features = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for name in turned(names, number):
                out = pathlib.Path(folder) / "features"
                speeds[name].append(max(measure(name, args, out)))
                if number == 0 and args.weights:
                    import numpy as np

                    features[name] = np.fromfile(out, dtype=np.float32)
    print(f"{args.network}, batch {args.batch}, {args.threads} threads, {cpu_name()}; images/s of {args.rounds} rounds")
    for name in names:
        print(f"  {name:18} best {max(speeds[name]):7.1f}  median {statistics.median(speeds[name]):7.1f}")
    torch = [name for name in names if name.startswith("torch")]
    ours = [name for name in names if name.startswith("fovea")]
    if not torch or not ours:
        return 0
    best = max(torch, key=lambda name: statistics.median(speeds[name]))
    ratio = 0
    for name in ours:
        ratios = [a / b for a, b in zip(speeds[name], speeds[best])]
        print(f"  {name}: {statistics.median(ratios):.2f} x {best} (rounds: {', '.join(f'{r:.2f}' for r in ratios)})")
        ratio = max(ratio, statistics.median(ratios))
    if features:
        import numpy as np

        ours_f, theirs = features[ours[0]], features[torch[0]]
        if ours_f.shape != theirs.shape:
            sys.exit(f"features differ in shape: {ours_f.shape}, {theirs.shape}")
        print(f"  features differ by {np.linalg.norm(ours_f - theirs) / np.linalg.norm(theirs):.1e} of their norm")
    return 1 if ratio < args.check else 0


if __name__ == "__main__":
    sys.exit(main())
