#!/usr/bin/env python3
"""The defaults of `fovea train DIR --weights W` against `--linear-probe`, by cross-validation.

    python3 bench/transfer_cv.py photos --folds 5 --seeds 3
    python3 bench/transfer_cv.py xray --group-prefix 8 --results xray.jsonl
    python3 bench/transfer_cv.py xray --group-prefix 8 --results xray.jsonl --jobs 2 --threads 1

DIR has one folder of pictures per class, or train/ and val/ with such folders, which are pooled. Each fold in turn is
kept aside (as test/, which training never sees) and the rest is trained on with no other flag. Pictures whose names
share their first --group-prefix characters (a patient, a camera) are never on both sides. Prints a line per training
and, at the end, means and the paired difference with its standard error. A stopped run goes on where it was: what
--results holds already is not trained again. --jobs trainings run at once, each on --threads cores: at least as many
trainings an hour as one after the other, but the seconds of each then say nothing about a user's. Needs nothing but
Python's standard library.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

MODES = {"probe": ["--linear-probe"], "default": []}


def pictures(root):
    """(class, path) of every picture, of all parts."""
    parts = [os.path.join(root, p) for p in ("train", "val") if os.path.isdir(os.path.join(root, p))] or [root]
    found = []
    for part in parts:
        for label in sorted(os.listdir(part)):
            folder = os.path.join(part, label)
            if os.path.isdir(folder):
                found += [(label, os.path.join(folder, name)) for name in sorted(os.listdir(folder))]
    return found


def folds_of(items, count, prefix, seed):
    """A fold number for each picture: groups whole, classes spread evenly (largest groups first, each to the fold that
    has least of its classes)."""
    groups = collections.defaultdict(list)
    for i, (label, path) in enumerate(items):
        groups[os.path.basename(path)[:prefix] if prefix else path].append(i)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    load = [collections.Counter() for _ in range(count)]
    fold = [0] * len(items)
    for members in order:
        labels = collections.Counter(items[i][0] for i in members)
        best = min(range(count), key=lambda f: (sum(load[f][label] * n for label, n in labels.items()), sum(load[f].values())))
        load[best].update(labels)
        for i in members:
            fold[i] = best
    return fold


def lay_out(folder, items, fold, held):
    for i, (label, path) in enumerate(items):
        part = "test" if fold[i] == held else "train"
        to = os.path.join(folder, part, label)
        os.makedirs(to, exist_ok=True)
        # Names of train/ and val/ may be equal.
        os.symlink(os.path.abspath(path), os.path.join(to, f"{os.path.splitext(os.path.basename(path))[0]}_{i}{os.path.splitext(path)[1]}"))


def train(args, folder, seed, mode):
    out = os.path.join(folder, "run")
    begin = time.time()
    done = subprocess.run([args.fovea, "train", folder, "--weights", args.weights, "--seed", str(seed), "--json", "-q",
                           "--overwrite", "--out", out] + (["--threads", str(args.threads)] if args.threads else []) + MODES[mode],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"fovea train failed ({mode}):\n{done.stderr}")
    test = json.loads(done.stdout)["test"]
    return {k: test[k] for k in ("auc", "accuracy", "log_loss")} | {"n": test["n"], "seconds": round(time.time() - begin, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--weights", default="efficientnet_lite0")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--group-prefix", type=int, default=0)
    parser.add_argument("--fovea", default=os.path.join(os.path.dirname(__file__), "../build/release/bin/fovea"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="cores of each training (default: all)")
    parser.add_argument("--results", help="file of finished trainings, one JSON object a line")
    args = parser.parse_args()
    items = pictures(args.data)
    if not items:
        sys.exit(f"{args.data}: no folders of pictures")
    results = {}
    if args.results and os.path.exists(args.results):
        for line in open(args.results, encoding="utf-8"):
            r = json.loads(line)
            results[r["seed"], r["fold"], r["mode"]] = r
    lock = threading.Lock()

    def fold_done(seed, held):
        todo = [mode for mode in MODES if (seed, held, mode) not in results]
        if not todo:
            return
        folder = tempfile.mkdtemp(prefix="fovea-cv-")
        try:
            lay_out(folder, items, folds_of(items, args.folds, args.group_prefix, seed), held)
            for mode in todo:
                r = {"seed": seed, "fold": held, "mode": mode} | train(args, folder, seed, mode)
                with lock:
                    results[seed, held, mode] = r
                    print(f"seed {seed} fold {held} {mode:8s} AUC {r['auc']:.4f}  accuracy {r['accuracy']:.4f}  "
                          f"log loss {r['log_loss']:.3f}  n {r['n']}  {r['seconds']:.0f} s", flush=True)
                    if args.results:
                        with open(args.results, "a", encoding="utf-8") as out:
                            out.write(json.dumps(r) + "\n")
        finally:
            shutil.rmtree(folder)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        pending = [pool.submit(fold_done, seed, held) for seed in range(1, args.seeds + 1) for held in range(args.folds)]
        try:
            for future in concurrent.futures.as_completed(pending):
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    print(f"\n{os.path.basename(os.path.abspath(args.data))}, {len(items)} pictures, {args.folds} folds, {args.seeds} seeds")
    keys = sorted({k[:2] for k in results})
    for metric in ("auc", "accuracy", "log_loss"):
        probe, tuned = ([results[k + (mode,)][metric] for k in keys] for mode in MODES)
        gain = [t - p for p, t in zip(probe, tuned)]
        error = statistics.stdev(gain) / len(gain) ** 0.5 if len(gain) > 1 else float("nan")
        print(f"{metric:9s} probe {statistics.mean(probe):.4f}  default {statistics.mean(tuned):.4f}  "
              f"difference {statistics.mean(gain):+.4f} ± {error:.4f}")
    print(f"seconds of a default training: {max(r['seconds'] for r in results.values() if r['mode'] == 'default'):.0f} at most")


if __name__ == "__main__":
    main()
