#!/usr/bin/env python3
"""Times one training step of the small CNN, or of another network, in PyTorch, TensorFlow and fovea, side by side.

The network: conv3x3 1->32, 32->32, maxpool 2, 32->64, 64->64, maxpool 2, dense 128, dense 10; padding 1, conv
biases, batch norm + ReLU after each conv, ReLU after dense 128; 28x28x1 images, Adam with learning rate 1e-3, f32, the
loss is softmax cross-entropy. This is what `fovea bench small_cnn --train` runs.

With --network NAME it is a network of torchvision (or timm) with 1000 classes, at 224 with SGD and momentum:
mobilenet_v2, mobilenet_v3_small, resnet18, efficientnet_lite0 (timm); the first two also in TensorFlow, as
keras.applications has them. --dtype bf16 is autocast in PyTorch and the policy mixed_bfloat16 in TensorFlow.

Every measurement is a process of its own, and the candidates alternate round by round (the order turns by one each
round), so that a busy moment of the machine does not fall on one of them alone. Compare minima on a busy machine and
medians on a quiet one. Memory is the peak resident size minus the resident size just before the model is built, so
that libraries' own code does not count.

    python3 bench/peers/train_step.py                       # all that is installed, 5 rounds
    python3 bench/peers/train_step.py --rounds 9 --only fovea,torch-channels-last-malloc
    python3 bench/peers/train_step.py --network mobilenet_v2 --dtype bf16 --only fovea,torch-channels-last-malloc
    python3 bench/peers/train_step.py --check 1.2           # exit 1 unless fovea reaches 1.2x the best PyTorch and less memory
"""
import argparse
import json
import os
import pathlib
import statistics
import sys

from common import installed, json_of, reset_peak, resident_mb, timed, turned

ROOT = pathlib.Path(__file__).resolve().parents[2]

# glibc returns the large activation buffers to the kernel at every step and faults them in again at the next; raised
# thresholds keep them. This is the setting in which PyTorch is fastest without another allocator.
KEEP_PAGES = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}

# name -> (worker, layout, fused optimizer, compiled, environment)
PEERS = {
    "torch-contiguous": ("torch", "contiguous", False, False, {}),
    "torch-contiguous-malloc": ("torch", "contiguous", False, False, KEEP_PAGES),
    "torch-channels-last": ("torch", "channels_last", False, False, {}),
    "torch-channels-last-malloc": ("torch", "channels_last", False, False, KEEP_PAGES),
    "torch-channels-last-malloc-fused": ("torch", "channels_last", True, False, KEEP_PAGES),
    "torch-channels-last-malloc-compile": ("torch", "channels_last", True, True, KEEP_PAGES),
    "tensorflow-graph": ("tensorflow", "channels_last", False, False, {}),
    "tensorflow-graph-malloc": ("tensorflow", "channels_last", False, False, KEEP_PAGES),
}
KERAS = {"mobilenet_v2": "MobileNetV2", "mobilenet_v3_small": "MobileNetV3Small"}
BY_REQUEST = {"torch-channels-last-malloc-compile"}  # needs a minute of compiling in every round


def report(times, before_mb):
    print(json.dumps({"times_ms": times, "peak_memory_mb": resident_mb("VmHWM") - before_mb}))


def torch_network(name):
    import torchvision

    if hasattr(torchvision.models, name):
        return getattr(torchvision.models, name)(num_classes=1000)
    import timm

    return timm.create_model(name, num_classes=1000)


def torch_small_cnn(size):
    from torch import nn

    def block(cin, cout):
        return [nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)]

    side = size // 4
    return nn.Sequential(
        *block(1, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * side * side, 128), nn.ReLU(inplace=True), nn.Linear(128, 10),
    )


def worker_torch(args):
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    small = args.network == "small_cnn"
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    x = torch.randn(args.batch, 1 if small else 3, args.size, args.size).to(memory_format=layout)
    y = torch.randint(0, 10 if small else 1000, (args.batch,))
    reset_peak()
    before = resident_mb()
    model = (torch_small_cnn(args.size) if small else torch_network(args.network)).to(memory_format=layout)
    model.train()
    forward = torch.compile(model) if args.compile else model
    fused = {"fused": True} if args.fused else {}
    if small:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **fused)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, **fused)
    loss_of = torch.nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
            loss = loss_of(forward(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    report(timed(step, args.warmup, args.runs), before)


def tensorflow_small_cnn(size):
    import tensorflow as tf

    layers = tf.keras.layers
    stack = [tf.keras.Input((size, size, 1))]
    for cout, pool in ((32, False), (32, True), (64, False), (64, True)):
        stack += [layers.Conv2D(cout, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]
        if pool:
            stack.append(layers.MaxPool2D(2))
    return tf.keras.Sequential(stack + [layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dense(10)])


def worker_tensorflow(args):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if args.dtype == "bf16":
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    small = args.network == "small_cnn"
    rng = np.random.default_rng(1)
    x = tf.constant(rng.standard_normal((args.batch, args.size, args.size, 1 if small else 3), dtype=np.float32))
    y = tf.constant(rng.integers(0, 10 if small else 1000, args.batch))
    reset_peak()
    before = resident_mb()
    if small:
        model = tensorflow_small_cnn(args.size)
        optimizer = tf.keras.optimizers.Adam(1e-3)
    else:
        extra = {"include_preprocessing": False} if args.network == "mobilenet_v3_small" else {}
        model = getattr(tf.keras.applications, KERAS[args.network])(
            weights=None, input_shape=(args.size, args.size, 3), classifier_activation=None, **extra)
        optimizer = tf.keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer.build(model.trainable_variables)
    loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @tf.function
    def graph_step():
        with tf.GradientTape() as tape:
            loss = loss_of(y, model(x, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return loss

    report(timed(lambda: graph_step().numpy(), args.warmup, args.runs), before)


def run_peer(name, args):
    worker, layout, fused, compiled, extra = PEERS[name]
    command = [sys.executable, __file__, "--worker", worker, "--layout", layout, "--batch", str(args.batch),
               "--size", str(args.size), "--threads", str(args.threads), "--runs", str(args.runs),
               "--warmup", str(args.warmup), "--network", args.network, "--dtype", args.dtype]
    command += ["--fused"] if fused else []
    command += ["--compile"] if compiled else []
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), **extra)
    result = json_of(name, command, env)
    return {"min_ms": min(result["times_ms"]), "median_ms": statistics.median(result["times_ms"]),
            "peak_memory_mb": result["peak_memory_mb"]}


def run_fovea(args):
    command = [str(args.fovea), "bench", args.network, "--train", "--dtype", args.dtype, "--batch", str(args.batch), "--size", str(args.size),
               "--threads", str(args.threads), "--runs", str(args.runs), "--json"]
    return json_of("fovea", command)


def choose(args):
    if args.only:
        names = args.only.split(",")
        unknown = [n for n in names if n != "fovea" and n not in PEERS]
        if unknown:
            sys.exit(f"train_step.py: unknown candidate {', '.join(unknown)}; known: fovea, {', '.join(PEERS)}")
        return names
    names = []
    if args.fovea.exists():
        names.append("fovea")
    else:
        print(f"fovea left out: {args.fovea} is not built (./dev build)", file=sys.stderr)
    for module in ("torch", "tensorflow") if args.network == "small_cnn" or args.network in KERAS else ("torch",):
        if installed(module):
            names += [n for n, peer in PEERS.items() if peer[0] == module and n not in BY_REQUEST]
        else:
            print(f"{module} left out: not installed (pip install -r bench/peers/requirements.txt)", file=sys.stderr)
    return names


def summarise(rounds, args):
    """One line per candidate: best of the minima, median of the medians and of the rounds' ratios, and memory."""
    rows = {}
    for name, results in rounds.items():
        lowest = min(r["min_ms"] for r in results)
        middle = statistics.median(r["median_ms"] for r in results)
        ratios = [theirs["median_ms"] / ours["median_ms"] for theirs, ours in zip(results, rounds.get("fovea", results))]
        rows[name] = {"ratio": statistics.median(ratios), "min_ms": lowest, "median_ms": middle, "images_per_s": args.batch / lowest * 1e3,
                      "images_per_s_median": args.batch / middle * 1e3,
                      "peak_memory_mb": statistics.median(r["peak_memory_mb"] for r in results)}
    return rows


def print_table(rows):
    ours = rows.get("fovea")
    print(f"{'candidate':36} {'min ms':>8} {'median':>8} {'img/s':>8} {'at med.':>8} {'peak MB':>8}"
          + (f" {'x speed':>8} {'x median':>8} {'x memory':>8}" if ours else ""))
    for name, row in rows.items():
        line = (f"{name:36} {row['min_ms']:8.2f} {row['median_ms']:8.2f} {row['images_per_s']:8.0f} "
                f"{row['images_per_s_median']:8.0f} {row['peak_memory_mb']:8.1f}")
        if ours:
            line += (f" {row['min_ms'] / ours['min_ms']:8.2f} {row['ratio']:8.2f}"
                     f" {row['peak_memory_mb'] / ours['peak_memory_mb']:8.2f}")
        print(line)
    if ours:
        print("x speed (of minima), x median (median of the rounds' ratios of medians), x memory: how many times faster, "
              "and smaller, fovea is than that candidate")


def check(rows, factor):
    torch_rows = [row for name, row in rows.items() if name.startswith("torch")]
    if "fovea" not in rows or not torch_rows:
        sys.exit("train_step.py: --check needs both fovea and PyTorch")
    speed = min(row["min_ms"] for row in torch_rows) / rows["fovea"]["min_ms"]
    memory = min(row["peak_memory_mb"] for row in torch_rows) / rows["fovea"]["peak_memory_mb"]
    good = speed >= factor and memory > 1
    print(f"check: {speed:.2f}x the best PyTorch (wanted {factor}x), PyTorch's smallest memory is {memory:.2f}x ours: "
          + ("good" if good else "MISSED"))
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fovea", type=pathlib.Path, default=ROOT / "build/release/bin/fovea")
    parser.add_argument("--network", default="small_cnn")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--batch", type=int, help="pictures a step (128, of other networks 16)")
    parser.add_argument("--size", type=int, help="height and width (28, of other networks 224)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, help="timed steps per round (30, of other networks 6)")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--only", help="comma-separated candidates: fovea, " + ", ".join(PEERS))
    parser.add_argument("--json", type=pathlib.Path, help="also write every round's numbers to this file")
    parser.add_argument("--check", type=float, metavar="FACTOR", help="exit 1 unless fovea is FACTOR times as fast")
    parser.add_argument("--worker", choices=("torch", "tensorflow"), help=argparse.SUPPRESS)
    parser.add_argument("--layout", default="channels_last", help=argparse.SUPPRESS)
    parser.add_argument("--fused", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    small = args.network == "small_cnn"
    args.batch = args.batch or (128 if small else 16)
    args.size = args.size or (28 if small else 224)
    args.runs = args.runs or (30 if small else 6)
    if args.worker:
        return {"torch": worker_torch, "tensorflow": worker_tensorflow}[args.worker](args)

    names = choose(args)
    if not names:
        sys.exit("train_step.py: nothing to run")
    rounds = {name: [] for name in names}
    print(f"{args.network} {args.dtype}, batch {args.batch} at {args.size}, {args.threads} threads, {args.rounds} rounds of {args.runs} "
          f"steps, load before {os.getloadavg()[0]:.2f}")
    for number in range(args.rounds):
        for name in turned(names, number):
            result = run_fovea(args) if name == "fovea" else run_peer(name, args)
            rounds[name].append(result)
            print(f"round {number + 1}: {name:36} min {result['min_ms']:8.2f} ms, median {result['median_ms']:8.2f} ms, "
                  f"peak {result['peak_memory_mb']:7.1f} MB, load {os.getloadavg()[0]:.2f}", flush=True)
    rows = summarise(rounds, args)
    print()
    print_table(rows)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "rounds": rounds}, indent=1) + "\n", encoding="utf-8")
    return check(rows, args.check) if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
