#!/usr/bin/env python3
"""Where a compiled network's time goes, by kind of layer, against what the machine can do at this moment.

    python3 bench/layers.py mobilenet_v2                          # f32, 2 threads
    python3 bench/layers.py resnet50 --dtype bf16 --threads 1

The peak is the measured rate of multiply-adds of the type that a step multiplies (bench/machine_probe.cc); steps that
multiply nothing have none. The ping is the time of a cache line from core to core and back: where it is 300 ns instead
of 60, two threads pay more for every map that they share.
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PEAKS = {"f32": "f32", "bf16": "bf16 vdpbf16ps", "int8": "int8 vpdpbusd"}


def answer(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"{command[0]} failed")
    return json.loads(done.stdout)


def peak_of(probe, kind, threads):
    """GFLOP/s of `threads` threads; f32 of the widest instruction set. None where the machine has no such products."""
    rates = [r for name, r in probe["gflops"].items() if name.startswith(PEAKS[kind])]
    if not rates:
        return None
    return max(r["1"] for r in rates) * threads


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("--dtype", default="f32", choices=list(PEAKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--fovea", type=pathlib.Path, default=ROOT / "build/release/bin/fovea")
    parser.add_argument("--probe", type=pathlib.Path, default=ROOT / "build/release/bin/machine_probe",
                        help="bench/machine_probe.cc: cmake -B build/release -DFOVEA_BENCH=ON, target machine_probe")
    args = parser.parse_args()
    for needed in (args.fovea, args.probe):
        if not needed.exists():
            parser.error(f"{needed} does not exist; ./dev build makes the program; --help says where the probe comes from")

    probe = answer(args.probe, "--json")
    run = answer(args.fovea, "bench", args.network, "--dtype", args.dtype, "--threads", args.threads, "--runs",
                 args.runs, "--profile", "--json")
    kinds = collections.defaultdict(lambda: [0, 0.0, 0])
    for step in run["steps"]:
        if step["name"].startswith(" "):
            continue  # of a picture; counted in the step around it
        kind = kinds[step["kernel"], step["type"]]
        kind[0] += 1
        kind[1] += step["ms"]
        kind[2] += step["macs"]
    total = sum(ms for _, ms, _ in kinds.values())
    print(f"{args.network}, {args.dtype}, {args.threads} threads: median {run['median_ms']:.3f} ms, min "
          f"{run['min_ms']:.3f}; core to core and back {probe.get('ping_ns', 0):.0f} ns")
    print(f"{'kind':24} {'type':5} {'steps':>5} {'ms':>8} {'of time':>8} {'MMAC':>8} {'GFLOP/s':>8} {'of peak':>8}")
    for (kernel, kind), (count, ms, macs) in sorted(kinds.items(), key=lambda item: -item[1][1]):
        line = f"{kernel:24} {kind:5} {count:5} {ms:8.3f} {ms / total:8.1%} {macs / 1e6:8.1f}"
        peak = peak_of(probe, kind, args.threads)
        if macs and peak:
            rate = 2e-6 * macs / ms
            line += f" {rate:8.1f} {rate / peak:8.1%}"
        print(line)


if __name__ == "__main__":
    main()
