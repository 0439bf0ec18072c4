#!/usr/bin/env python3
"""What `fovea audit --mitigate` does for a class with few pictures: takes all but N training pictures of one class away,
trains with and without each mitigation over three seeds, and prints the recall of that class on the validation part.

usage: bench/mitigate.py FOVEA_PROGRAM DATA CLASS N [words for fovea train]
   e.g. bench/mitigate.py build/release/bin/fovea hymenoptera bees 8 --weights efficientnet_lite0 --linear-probe
"""
import json
import os
import random
import subprocess
import sys
import tempfile

fovea, source, rare, few = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2]), sys.argv[3], int(sys.argv[4])
more = sys.argv[5:]
VARIANTS = {  # words for audit, words for train
    "nothing": (None, []),
    "--balance weights": (None, ["--balance", "weights"]),
    "oversample": (["--mitigate-with", "oversample"], []),
    "augment": (["--mitigate-with", "oversample,augment"], []),
    "mixup": (["--mitigate-with", "oversample,mixup"], []),
    "paste": (["--mitigate-with", "oversample,paste"], []),
    "style": (["--mitigate-with", "oversample,style"], []),
    "the default": ([], []),
}


def thinned(folder, seed):
    rng = random.Random(seed)
    for part in ("train", "val"):
        for name in sorted(os.listdir(f"{source}/{part}")):
            os.makedirs(f"{folder}/{part}/{name}")
            files = sorted(os.listdir(f"{source}/{part}/{name}"))
            if part == "train" and name == rare:
                files = rng.sample(files, few)
            for file in files:
                os.symlink(f"{source}/{part}/{name}/{file}", f"{folder}/{part}/{name}/{file}")


results = {}
for seed in (1, 2, 3):
    with tempfile.TemporaryDirectory() as work:
        thinned(f"{work}/data", seed)
        for variant, (audit, train) in VARIANTS.items():
            data, out = f"{work}/data", f"{work}/run"
            if audit is not None:
                even = f"{work}/even {variant}"
                subprocess.run([fovea, "audit", data, "--mitigate", even, "--mitigate-share", "1", "--mitigate-most", "10", "--seed", str(seed), "-q"] + audit,
                               check=True, stdout=subprocess.DEVNULL)
                data = f"{even}/manifest.csv"
            subprocess.run([fovea, "train", data, "--out", out, "--overwrite", "--seed", str(seed), "-q"] + train + more, check=True, stdout=subprocess.DEVNULL)
            with open(f"{out}/evaluation.json") as file:
                told = json.load(file)
            k = sorted(os.listdir(f"{source}/val")).index(rare)
            results.setdefault(variant, []).append((told["classes"][k]["recall"], told["balanced_accuracy"]))
print(f"| {'mitigation':18} | recall of {rare}, seeds 1 to 3 | mean | balanced accuracy |\n|---|---|---|---|")
for variant, rows in results.items():
    print(f"| {variant:18} | {' '.join('%.2f' % r for r, _ in rows)} | {sum(r for r, _ in rows) / 3:.3f} | {sum(b for _, b in rows) / 3:.3f} |")
