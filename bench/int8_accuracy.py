#!/usr/bin/env python3
"""What int8 costs in accuracy, against the limits that the project sets itself.

    python3 bench/int8_accuracy.py --sets hymenoptera xray steel --seeds 3 --runs runs/int8
    python3 bench/int8_accuracy.py --sets steel --runs runs/int8 --edge fashion-mnist --edge-weights mbv2_035_96.pth

Every SET is a folder with train/ and val/ of pictures by class. With the defaults of `fovea train SET --weights
efficientnet_lite0` a network is trained for each seed, quantised with the defaults of `fovea quantize` on pictures of
train/ and compared with f32 on val/. The first set's pictures also compare the ImageNet network itself: calibrated on
val/, compared on train/. --edge trains MobileNetV2 of width 0.35 at 96 on ten classes and looks at the file too. What
--runs holds already is not trained again. Prints Markdown and ends with code 1 if a limit is missed. Needs nothing but
Python's standard library.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys


def quantize(o, model, *options):
    words = [o.fovea, "quantize", model, "--json", "--quiet", "--threads", str(o.threads), *options]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def trained(o, name, source, *options):
    """The run folder of a training, which is done unless it is there."""
    run = os.path.join(o.runs, name)
    if not os.path.exists(os.path.join(run, "evaluation.json")):
        words = [o.fovea, "train", source, "--out", run, "--overwrite", "--quiet", "--threads", str(o.threads), *options]
        print(f"training {name}", file=sys.stderr, flush=True)
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return run


def in_f32(result):
    kept = [layer["name"] for layer in result["layers"] if not layer["int8"]]
    return f"{len(kept)} of {len(result['layers'])}"


def percent(x):
    return f"{100 * x:.2f} %"


class Limits:
    def __init__(self):
        self.missed = []

    def check(self, what, met):
        if not met:
            self.missed.append(what)
        return "" if met else " **missed**"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=[], metavar="SET")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", required=True, help="folder for trained models")
    parser.add_argument("--edge", metavar="DATA", help="ten classes, as `fovea train` takes them")
    parser.add_argument("--edge-weights", metavar="FILE", help="where its training starts (default: from nothing)")
    parser.add_argument("--fovea", default="build/release/bin/fovea")
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    os.makedirs(o.runs, exist_ok=True)
    limits = Limits()
    if o.sets:
        first = o.sets[0]
        r = quantize(o, "efficientnet_lite0", "--calibrate", os.path.join(first, "val"), "--validate",
                     os.path.join(first, "train"))
        a = r["agreement"]
        print(f"EfficientNet-Lite0, ImageNet, {a['pictures']} pictures of {os.path.basename(first)}: layers in f32 "
              f"{in_f32(r)}\n")
        print("| | measured | limit |\n|---|---|---|")
        for what, key, least in (("top-1 agreement", "top1", 0.93), ("f32's best in int8's top 5", "top5", 0.99)):
            print(f"| {what} | {percent(a[key])}{limits.check(what, a[key] >= least)} | ≥ {100 * least:.0f} % |")
        print(f"| mean cosine | {a['cosine']:.4f}{limits.check('cosine', a['cosine'] >= 0.99)} | ≥ 0.99 |\n")
        print("| fine-tuned | pictures | f32 | int8 | lost, mean | limit | layers in f32 | expected |")
        print("|---|---|---|---|---|---|---|---|")
    for folder in o.sets:
        name = os.path.basename(os.path.normpath(folder))
        results = []
        for seed in range(1, o.seeds + 1):
            run = trained(o, f"{name}-{seed}", folder, "--weights", "efficientnet_lite0", "--seed", str(seed))
            results.append(quantize(o, run, "--calibrate", folder))
        n = results[0]["agreement"]["pictures"]
        lost = statistics.mean(r["accuracy"]["f32"] - r["accuracy"]["int8"] for r in results)
        most = max(0.005, 1 / n)
        print(f"| {name} | {n} | {', '.join(percent(r['accuracy']['f32']) for r in results)} | "
              f"{', '.join(percent(r['accuracy']['int8']) for r in results)} | {100 * lost:+.2f} points"
              f"{limits.check(name, lost <= most + 1e-9)} | {100 * most:.2f} | "
              f"{', '.join(in_f32(r) for r in results)} | "
              f"{', '.join('%.2f' % (100 * r['expected_loss']['int8']) for r in results)} |", flush=True)
    if o.edge:
        start = ["--model", "mobilenet_v2", "--width", "0.35", "--batch-size", "32"]
        if o.edge_weights:
            start = ["--weights", o.edge_weights, "--train-bn", "--lr", "2e-3", "--lr-decay", "1"]
        run = trained(o, "edge-1", o.edge, *start, "--image-size", "96", "--augment", "light", "--limit", "12000",
                      "--epochs", "4", "--seed", "1")
        r = quantize(o, run, "--calibrate", o.edge, "--out", os.path.join(o.runs, "edge.fovea"))
        lost, megabytes = r["accuracy"]["f32"] - r["accuracy"]["int8"], r["file"]["bytes"] / 1e6
        print("\n| MobileNetV2 0.35 at 96 | measured | limit |\n|---|---|---|")
        print(f"| file | {megabytes:.3f} MB{limits.check('size of the file', megabytes < 0.6)} | < 0.6 MB |")
        print(f"| accuracy lost, {r['agreement']['pictures']} pictures | {percent(r['accuracy']['f32'])} − "
              f"{percent(r['accuracy']['int8'])} = {100 * lost:.2f} points{limits.check('edge', lost <= 0.01)} | ≤ 1 |")
        print(f"| layers in f32 | {in_f32(r)} | |")
    if limits.missed:
        sys.exit("missed: " + ", ".join(limits.missed))


if __name__ == "__main__":
    main()
