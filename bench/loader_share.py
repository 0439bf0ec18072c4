#!/usr/bin/env python3
"""How much of the speed on in-memory batches training keeps when the loader feeds it.

Alternates `fovea bench MODEL --train` (one batch in memory, over and over) and `fovea train` (decoding, augmentation and
prefetch on worker threads, loss and accuracy of every batch), and prints the ratio of images per second, round by round
and of the medians. Needs an idle machine: the loader's work is a few per cent of one core, so noise counts.

    python3 bench/loader_share.py                                    # the demo: fashion_cnn on Fashion-MNIST
    python3 bench/loader_share.py --rounds 9 -- photos --model picture_cnn --image-size 128
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fovea", default=str(ROOT / "build/release/bin/fovea"))
    parser.add_argument("--model", default="fashion_cnn")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=25600, help="training pictures per round")
    parser.add_argument("train", nargs="*", default=["fashion-mnist"], help="what `fovea train` gets (after --)")
    options = parser.parse_args()
    memory, loader = [], []
    for i in range(options.rounds):
        out = subprocess.run(
            [options.fovea, "bench", options.model, "--train", "--batch", str(options.batch), "--runs",
             str(options.limit // options.batch), "--json"],
            check=True, capture_output=True, text=True).stdout
        memory.append(json.loads(out)["images_per_s"])
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [options.fovea, "train", *options.train, "--model", options.model, "--batch-size", str(options.batch),
                 "--limit", str(options.limit), "--epochs", "2", "--val", "0", "--quiet", "--out", folder + "/run"],
                check=True, stdout=subprocess.DEVNULL)
            epochs = [json.loads(line) for line in open(folder + "/run/metrics.jsonl", encoding="utf-8")]
        loader.append(max(e["images_per_s"] for e in epochs if "images_per_s" in e))
        print(f"round {i + 1}: in memory {memory[-1]:8.0f} img/s, loader {loader[-1]:8.0f} img/s, "
              f"{100 * loader[-1] / memory[-1]:5.1f} %", flush=True)
    print(f"medians: {statistics.median(memory):.0f} and {statistics.median(loader):.0f} img/s, "
          f"{100 * statistics.median(loader) / statistics.median(memory):.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
