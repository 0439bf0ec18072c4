#!/usr/bin/env python3
"""Times one network in fovea, LiteRT, ONNX Runtime, OpenVINO and oneDNN, taking turns in one run, and prints the ratios.

fovea writes a model file with seeded weights; it is turned into .tflite and .onnx with the same folded weights. First
every peer's logits on one seeded picture must agree with fovea's; one that disagrees in f32 is reported and not timed
(in bf16 and int8 the deviation is printed only). Then, round by round, each candidate is warmed up and timed alone.

    python3 bench/peers/infer.py                                   # MobileNetV2, 224, batch 1, f32, 2 threads
    python3 bench/peers/infer.py resnet50 --threads 1 --rounds 5
    python3 bench/peers/infer.py mobilenet_v2 --dtype int8 --width 0.35 --size 96
    python3 bench/peers/infer.py trained.fovea --dtype bf16        # a model file of one's own
    python3 bench/peers/infer.py --check litert=0.88               # exit 1 unless fovea takes at most 0.88 of LiteRT's time

bench/README.md explains the columns.
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import infer_models
import seeded_weights
from common import cpu_name, turned
from fovea_graph import read_safetensors, write_safetensors

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = {"litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "openvino": "openvino"}
PEERS = {"f32": ["litert", "onnxruntime", "openvino", "onednn"], "bf16": ["openvino", "onednn"],
         "int8": ["litert", "onnxruntime", "openvino"]}
TOLERANCE = 1e-3  # of the spread of the logits, f32
REST_S = 0.05     # threads of the one before may spin for a moment after its turn


class Peer:
    """A worker process that waits for its turn."""

    def __init__(self, name, model, args, folder):
        self.name, self.process, self.note = name, None, ""
        self.version = importlib.metadata.version(PACKAGES[name])
        self.command = [sys.executable, str(pathlib.Path(__file__).with_name("infer_worker.py")), "--runtime", name,
                        "--model", str(model), "--input", str(folder / "input.npy"), "--threads", str(args.threads),
                        "--dtype", args.dtype]
        self.folder, self.log, self.fresh = folder, folder / f"{name}.log", args.fresh

    def ask(self, **command):
        if self.process is None:
            with open(self.log, "w", encoding="utf-8") as log:
                self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                                text=True)
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self.process.wait()
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"{self.name} ended with status {status}: {tail[0]}")
        return json.loads(line)

    def check(self):
        """Its logits; what is worth knowing goes into `note`."""
        path = self.folder / f"{self.name}.npy"
        self.note = self.ask(do="check", output=str(path))["note"]
        return np.load(path)

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None

    def turn(self, warmup, runs):
        result = self.ask(do="time", warmup=warmup, runs=runs)
        if self.fresh:
            self.stop()
        times = result["times_ms"]
        return {"min_ms": min(times), "median_ms": statistics.median(times), "peak_memory_mb": result["peak_memory_mb"]}


def run_program(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        tail = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"{pathlib.Path(command[0]).name} ended with status {done.returncode}: {tail[0]}")
    return done.stdout


class Program:
    """A program that is started for each turn: fovea and the chain of oneDNN primitives."""

    def __init__(self, name, command, args):
        self.name, self.note, self.version = name, "", ""
        self.command = command + ["--threads", args.threads, "--dtype", args.dtype]

    def turn(self, warmup, runs):
        return json.loads(run_program(self.command + ["--warmup", warmup, "--runs", runs]).strip().splitlines()[-1])

    def stop(self):
        pass


class OneDnn(Program):
    def __init__(self, name, model, args, folder):
        super().__init__(name, [args.chain, model], args)
        self.folder = folder

    def check(self):
        path = self.folder / f"{self.name}.safetensors"
        answer = json.loads(run_program(self.command + ["--warmup", 0, "--runs", 0, "--input",
                                                        self.folder / "input.safetensors", "--output", path]))
        self.version = answer["version"]
        if answer["reference_primitives"]:
            self.note = f"{answer['reference_primitives']} primitives in reference code"
        return next(iter(read_safetensors(path)[0].values()))


def expected_logits(args, model, folder, x):
    """The network uncompiled and in f32."""
    write_safetensors(folder / "input.safetensors", {"input": x})
    run_program([args.fovea, "run", model, "--input", folder / "input.safetensors", "--output",
                 folder / "output.safetensors", "--quiet"])
    tensors, _ = read_safetensors(folder / "output.safetensors")
    return next(iter(tensors.values()))


def core_ping_ns(args):
    if not args.probe.exists():
        return None
    return json.loads(run_program([args.probe, "--ping", "--json"])).get("ping_ns")


def wanted_peers(args):
    peers = PEERS[args.dtype]
    if args.only:
        wanted = [name for name in args.only.split(",") if name != "fovea"]
        unknown = [name for name in wanted if name not in peers]
        if unknown:
            sys.exit(f"infer.py: no candidate {', '.join(unknown)} in {args.dtype}; there are: fovea, {', '.join(peers)}")
        return wanted
    if "onednn" in peers and not args.chain.exists():
        print(f"onednn left out: {args.chain} is not built (bench/README.md)", file=sys.stderr)
        return [name for name in peers if name != "onednn"]
    return peers


def prepare(args, folder):
    """The candidates whose logits agree."""
    model = infer_models.make_fovea(args.fovea, args.network, folder, args.size, args.width, args.seed)
    wanted = wanted_peers(args)
    files, graph = infer_models.make_peers(model, folder, args.batch, args.dtype, wanted)
    shape = graph.shapes[graph.input]
    print(f"{args.network}, {shape[1]}x{shape[2]}, batch {args.batch}, {args.threads} threads, {args.dtype}, "
          f"{graph.multiply_adds() / args.batch / 1e6:.0f} M multiply-adds a picture", flush=True)
    x = seeded_weights.noise(shape, args.seed + 1000)  # none of the pictures that int8 was calibrated on
    np.save(folder / "input.npy", x)
    expected = expected_logits(args, model, folder, x)
    candidates = []
    if not args.only or "fovea" in args.only.split(","):
        bench = [args.fovea, "bench", model, "--batch", args.batch, "--json", *args.fovea_args.split()]
        candidates.append(Program("fovea", bench, args))
    for name in wanted:
        peer = (OneDnn if name == "onednn" else Peer)(name, files[name], args, folder)
        try:
            off = infer_models.deviation(peer.check(), expected)
        except RuntimeError as error:
            print(f"{name}: left out, {error}", flush=True)
            continue
        peer.note = f"deviates by {off:.1e} of the logits' spread" + (f"; {peer.note}" if peer.note else "")
        if args.dtype == "f32" and not off <= TOLERANCE:
            print(f"{name} {peer.version}: left out, DISAGREES with fovea: {peer.note}, allowed are {TOLERANCE}", flush=True)
            peer.stop()
            continue
        print(f"{name} {peer.version}: {peer.note}", flush=True)
        if args.fresh:
            peer.stop()
        candidates.append(peer)
    return candidates


def take_turns(args, candidates):
    """name -> the results of its rounds; who fails is left out from then on."""
    rounds = {c.name: [] for c in candidates}
    pings = []
    by_name = {c.name: c for c in candidates}
    for number in range(args.rounds):
        pings.append(core_ping_ns(args))
        line = []
        for name in turned([c.name for c in candidates if c.name in rounds], number):
            time.sleep(REST_S)
            try:
                if not args.runs:
                    estimate = by_name[name].turn(2, 5)["min_ms"]
                    args.runs = int(min(500, max(10, args.seconds * 1e3 / estimate)))
                result = by_name[name].turn(max(3, args.runs // 10), args.runs)
            except RuntimeError as error:
                print(f"{name}: left out, {error}", flush=True)
                del rounds[name]
                continue
            rounds[name].append(result)
            line.append(f"{name} {result['min_ms']:.3f}/{result['median_ms']:.3f}")
        ping = f", ping {pings[-1]:.0f} ns" if pings[-1] is not None else ""
        print(f"round {number + 1} of {args.runs} runs: {'  '.join(line)}  (min/median ms; load "
              f"{os.getloadavg()[0]:.1f}{ping})", flush=True)
    return rounds, pings


def summarise(rounds, batch):
    ours = rounds.get("fovea")
    rows = {}
    for name, results in rounds.items():
        row = {"min_ms": min(r["min_ms"] for r in results),
               "median_ms": statistics.median(r["median_ms"] for r in results),
               "peak_memory_mb": statistics.median(r["peak_memory_mb"] for r in results)}
        row["images_per_s"] = batch / row["median_ms"] * 1e3
        if ours and name != "fovea":
            for key in ("min_ms", "median_ms"):
                row["ratio_" + key[:-3]] = statistics.median(a[key] / b[key] for a, b in zip(ours, results))
        rows[name] = row
    return rows


def print_table(rows):
    print(f"\n{'candidate':14}{'min ms':>9}{'median':>9}{'images/s':>10}{'peak MB':>9}{'ratio':>8}{'of minima':>11}")
    for name, row in rows.items():
        line = (f"{name:14}{row['min_ms']:9.3f}{row['median_ms']:9.3f}{row['images_per_s']:10.1f}"
                f"{row['peak_memory_mb']:9.1f}")
        if "ratio_median" in row:
            line += f"{row['ratio_median']:8.3f}{row['ratio_min']:11.3f}"
        print(line)
    if "fovea" in rows:
        print("ratio: fovea's time / that candidate's, median over the rounds; below 1 fovea is faster")


def check(rows, wanted):
    """Exit status: 1 unless each `peer=ratio` is kept."""
    good = True
    for item in wanted.split(","):
        name, limit = item.split("=")
        ratio = rows.get(name, {}).get("ratio_median")
        kept = ratio is not None and ratio <= float(limit)
        good = good and kept
        print(f"check: {name} {'not timed' if ratio is None else f'{ratio:.3f}'}, wanted at most {limit}: "
              + ("good" if kept else "MISSED"))
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="mobilenet_v2",
                        help="a .fovea model file or one of " + ", ".join(infer_models.NETWORKS))
    parser.add_argument("--fovea", type=pathlib.Path, default=ROOT / "build/release/bin/fovea")
    parser.add_argument("--fovea-args", default="", help="further arguments of `fovea bench`, as one word")
    parser.add_argument("--probe", type=pathlib.Path, default=ROOT / "build/release/bin/machine_probe")
    parser.add_argument("--chain", type=pathlib.Path, default=ROOT / "build/release/bin/onednn_chain")
    parser.add_argument("--size", type=int, default=0, help="pixels (default: the network's own)")
    parser.add_argument("--width", type=float, default=0, help="channel multiplier")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=PEERS, default="f32")
    parser.add_argument("--seed", type=int, default=1, help="of weights and input")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=0, help="timed runs of a turn (default: from --seconds)")
    parser.add_argument("--seconds", type=float, default=0.4, help="length of a turn, if --runs is not given")
    parser.add_argument("--only", default="", help="comma-separated candidates")
    parser.add_argument("--fresh", action="store_true", help="a new process for each turn of a peer too")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the model files (default: removed at the end)")
    parser.add_argument("--json", type=pathlib.Path, help="also write every round's numbers to this file")
    parser.add_argument("--check", default="", metavar="PEER=RATIO,...", help="exit 1 unless fovea's ratio is at most this")
    args = parser.parse_args()
    if not args.fovea.exists():
        sys.exit(f"infer.py: {args.fovea} is not built (./dev build), or give --fovea PATH")
    with tempfile.TemporaryDirectory(prefix="fovea-peers-") as temporary:
        folder = args.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        load = os.getloadavg()[0]
        print(f"{cpu_name()}, {len(os.sched_getaffinity(0))} processors, load before {load:.2f}")
        candidates = prepare(args, folder)
        if not candidates:
            sys.exit("infer.py: nothing to time")
        try:
            rounds, pings = take_turns(args, candidates)
        finally:
            for candidate in candidates:
                candidate.stop()
        rows = summarise(rounds, args.batch)
        print_table(rows)
        if args.json:
            settings = {key: str(value) if isinstance(value, pathlib.Path) else value for key, value in vars(args).items()}
            args.json.write_text(json.dumps({
                "settings": settings, "cpu": cpu_name(), "load_before": load, "ping_ns": pings, "rows": rows,
                "versions": {c.name: c.version for c in candidates if c.version},
                "notes": {c.name: c.note for c in candidates}, "rounds": rounds}, indent=1) + "\n", encoding="utf-8")
        return check(rows, args.check) if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
