#!/usr/bin/env python3
"""Times a network on a GPU in fovea, PyTorch, ONNX Runtime and TensorRT, taking turns in one run, and prints the ratios.

    pip install -r bench/peers/requirements-gpu.txt                # in an environment of its own
    python3 bench/peers/gpu.py                                     # MobileNetV2, inference, batch 32 at 224
    python3 bench/peers/gpu.py --train                             # training steps: forward, loss, backward, SGD with momentum
    python3 bench/peers/gpu.py resnet50 --train --batch 64 --rounds 9
    python3 bench/peers/gpu.py --only fovea,fovea-tf32,torch-tf32 --json result.json
    python3 bench/peers/gpu.py --train --only fovea-tf32,torch-amp-compile --check 1.0

Networks are torchvision's or timm's (fovea's names are the same). Candidates that end in -tf32 may round products to TF32
and those in -amp, -f16 or -bf16 compute in 16 bits; without an ending all is f32 with TF32 off. Training passes of
-graph are recorded and started with one call. PyTorch runs in channels_last
with cuDNN's benchmark mode on, which chooses by timing. ONNX Runtime and TensorRT (inference only) get the network
that PyTorch exports. What is not installed, not built or refused is left out, and says so.

Every measurement is a process of its own that waits for the GPU after each run, as `fovea bench` does; the candidates
alternate round by round, in an order that turns by one each round. Data lies on the GPU: nothing is copied while time runs.
Without a GPU nothing is timed and the status is 2.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from common import installed, json_of, timed, turned
from train_step import torch_network

ROOT = pathlib.Path(__file__).resolve().parents[2]

# name -> what `fovea bench` is asked for
FOVEA = {"fovea": [], "fovea-tf32": ["--tf32"], "fovea-bf16": ["--dtype", "bf16"], "fovea-f16": ["--dtype", "f16"],
         "fovea-graph": ["--cuda-graph"], "fovea-tf32-graph": ["--tf32", "--cuda-graph"],
         "fovea-bf16-graph": ["--dtype", "bf16", "--cuda-graph"]}
TRAINING_ONLY = {name for name in FOVEA if name.endswith("-graph")}  # inference is recorded anyhow
# name -> (worker, precision, compiled)
PEERS = {
    "torch": ("torch", "f32", False),
    "torch-tf32": ("torch", "tf32", False),
    "torch-amp": ("torch", "f16", False),
    "torch-bf16": ("torch", "bf16", False),
    "torch-amp-compile": ("torch", "f16", True),
    "onnxruntime": ("onnxruntime", "f32", False),
    "onnxruntime-tf32": ("onnxruntime", "tf32", False),
    "tensorrt": ("tensorrt", "f32", False),
    "tensorrt-tf32": ("tensorrt", "tf32", False),
    "tensorrt-f16": ("tensorrt", "f16", False),
}
MODULES = {"torch": ("torch", "torchvision"), "onnxruntime": ("onnxruntime",), "tensorrt": ("tensorrt", "torch")}
BY_REQUEST = {"torch-amp-compile"}  # needs a minute of compiling in every round


# ---- peers, each in a process of its own

def worker_torch(args):
    import torch

    device = torch.device(args.torch_device)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    torch.manual_seed(1)
    layout = {"device": device, "memory_format": torch.channels_last}
    x = torch.randn(args.batch, 3, args.size, args.size).to(**layout)
    y = torch.randint(0, 1000, (args.batch,), device=device)
    model = torch_network(args.network).to(**layout)
    model.train(args.train)
    forward = torch.compile(model) if args.compile else model
    half = {"f16": torch.float16, "bf16": torch.bfloat16}.get(args.precision)
    autocast = {"device_type": device.type, "dtype": half or torch.float32, "enabled": half is not None}
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    if args.train:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=device.type == "cuda")
        loss_of = torch.nn.CrossEntropyLoss()
        scaler = torch.amp.GradScaler(device.type, enabled=args.precision == "f16")

        def step():
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(**autocast):
                loss = loss_of(forward(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            loss.item()
            wait()
    else:
        def step():
            with torch.inference_mode(), torch.autocast(**autocast):
                forward(x)
            wait()

    return {"times_ms": timed(step, args.warmup, args.runs), "version": torch.__version__}


def export(args, path):
    """The network as PyTorch exports it, for those that read ONNX."""
    import torch

    torch.manual_seed(1)
    model = torch_network(args.network).eval()
    torch.onnx.export(model, (torch.randn(args.batch, 3, args.size, args.size),), str(path), input_names=["x"],
                      output_names=["y"], dynamo=False)
    return {}


def worker_onnxruntime(args):
    import numpy as np
    import onnxruntime

    provider = "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(f"this onnxruntime {onnxruntime.__version__} has no {provider} (pip install onnxruntime-gpu)")
    options = [(provider, {"use_tf32": str(int(args.precision == "tf32"))})]
    session = onnxruntime.InferenceSession(str(args.onnx), providers=options)
    if session.get_providers()[0] != provider:  # it goes on with the CPU where the GPU cannot be used
        raise RuntimeError("onnxruntime could not start on the GPU")
    x = np.random.default_rng(1).standard_normal((args.batch, 3, args.size, args.size), dtype=np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x, "cuda", 0))
    binding.bind_output("y", "cuda")

    def step():
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return {"times_ms": timed(step, args.warmup, args.runs), "version": onnxruntime.__version__}


def worker_tensorrt(args):
    import tensorrt
    import torch  # for memory and a stream

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(args.onnx.read_bytes()):
        raise RuntimeError(f"TensorRT does not read the network: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if args.precision == "f16":
        config.set_flag(tensorrt.BuilderFlag.FP16)
    if args.precision == "f32":
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise RuntimeError("TensorRT could not build an engine")
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(serialized)
    context = engine.create_execution_context()
    stream = torch.cuda.Stream()
    tensors = [torch.randn(*engine.get_tensor_shape(name), device="cuda") for name in ("x", "y")]
    for name, tensor in zip(("x", "y"), tensors):
        context.set_tensor_address(name, tensor.data_ptr())
    torch.cuda.synchronize()

    def step():
        context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()

    return {"times_ms": timed(step, args.warmup, args.runs), "version": tensorrt.__version__}


# ---- taking turns

def run_fovea(name, args):
    command = [str(args.fovea), "bench", args.network, "--device", args.device, "--batch", str(args.batch), "--size",
               str(args.size), "--runs", str(args.runs), "--warmup", str(args.warmup), "--json", *FOVEA[name]]
    result = json_of(name, command + (["--train"] if args.train else []))
    return {"min_ms": result["min_ms"], "median_ms": result["median_ms"]}


def run_peer(name, args, onnx):
    worker, precision, compiled = PEERS[name]
    result = json_of(name, worker_command(worker, args) + ["--precision", precision, "--onnx", str(onnx)]
                     + (["--compile"] if compiled else []))
    return {"min_ms": min(result["times_ms"]), "median_ms": statistics.median(result["times_ms"])}


def worker_command(worker, args):
    return [sys.executable, __file__, args.network, "--worker", worker, "--batch", str(args.batch), "--size",
            str(args.size), "--runs", str(args.runs), "--warmup", str(args.warmup), "--torch-device",
            args.torch_device] + (["--train"] if args.train else [])


def the_gpu(args):
    """Its name, driver and fovea's view of it; nothing, with the reason told, where there is none."""
    if not args.fovea.exists():
        print(f"fovea left out: {args.fovea} is not built (cmake --preset cuda; cmake --build build/cuda)", file=sys.stderr)
        seen = None
    else:
        found = json_of("fovea", [str(args.fovea), "devices", "--json"])
        gpus = [d for d in found["devices"] if d["device"] != "cpu"]
        if not gpus:
            print(f"fovea sees no GPU: {found.get('no_gpu', 'it lists none')}", file=sys.stderr)
            return None
        index = int(args.device.partition(":")[2] or 0)
        if index >= len(gpus):
            print(f"fovea sees {len(gpus)} GPUs, counted from 0: there is no {args.device}", file=sys.stderr)
            return None
        seen = f"{gpus[index]['name']} (compute capability {gpus[index]['capability']})"
    smi = shutil.which("nvidia-smi")
    if not smi:
        if not seen:
            print("there is no nvidia-smi: no driver of a GPU is installed here", file=sys.stderr)
        return seen
    done = subprocess.run([smi, "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"nvidia-smi sees no GPU: {(done.stdout + done.stderr).strip()}", file=sys.stderr)
        return seen
    return "; ".join(filter(None, [seen, "nvidia-smi: " + " | ".join(done.stdout.strip().splitlines())]))


def choose(args):
    known = {**FOVEA, **PEERS}
    if args.only:
        names = args.only.split(",")
        unknown = [name for name in names if name not in known]
        if unknown:
            sys.exit(f"gpu.py: unknown candidate {', '.join(unknown)}; known: {', '.join(known)}")
        return names
    names = [name for name in FOVEA if args.train or name not in TRAINING_ONLY] if args.fovea.exists() else []
    for worker, modules in MODULES.items():
        if args.train and worker != "torch":
            continue
        missing = [module for module in modules if not installed(module)]
        if missing:
            print(f"{worker} left out: {' and '.join(missing)} not installed", file=sys.stderr)
            continue
        names += [name for name, peer in PEERS.items() if peer[0] == worker and name not in BY_REQUEST]
    return names


def measure(names, args, onnx):
    """The rounds' numbers by candidate. One that fails in its first round is left out, with its reason."""
    rounds = {name: [] for name in names}
    for number in range(args.rounds):
        for name in turned(list(rounds), number):
            try:
                result = run_fovea(name, args) if name in FOVEA else run_peer(name, args, onnx)
            except RuntimeError as error:
                if number > 0:
                    raise
                print(f"left out: {error}", file=sys.stderr)
                del rounds[name]
                continue
            rounds[name].append(result)
            print(f"round {number + 1}: {name:20} min {result['min_ms']:8.3f} ms, median {result['median_ms']:8.3f} ms",
                  flush=True)
    return rounds


def summarise(rounds, args):
    """Medians over the rounds; against each of fovea's, the median of the rounds' ratios of medians."""
    ours = [name for name in rounds if name in FOVEA]
    rows = {}
    for name, results in rounds.items():
        middle = statistics.median(r["median_ms"] for r in results)
        ratios = {mine: statistics.median(theirs["median_ms"] / fovea["median_ms"]
                                          for theirs, fovea in zip(results, rounds[mine])) for mine in ours}
        rows[name] = {"min_ms": min(r["min_ms"] for r in results), "median_ms": middle,
                      "images_per_s": args.batch / middle * 1e3, "ratios": ratios}
    return rows


def print_table(rows):
    ours = [name for name in rows if name in FOVEA]
    print(f"{'candidate':20} {'min ms':>9} {'median':>9} {'img/s':>9}" + "".join(f" {'/ ' + name:>13}" for name in ours))
    for name, row in rows.items():
        print(f"{name:20} {row['min_ms']:9.3f} {row['median_ms']:9.3f} {row['images_per_s']:9.0f}"
              + "".join(f" {row['ratios'][mine]:13.2f}" for mine in ours))
    if ours:
        print("/ NAME: how many times as long as that candidate of fovea's it takes (median of the rounds' ratios of medians)")


def check(rows, factor):
    ours = min((row["median_ms"] for name, row in rows.items() if name in FOVEA), default=None)
    theirs = min((row["median_ms"] for name, row in rows.items() if name in PEERS), default=None)
    if ours is None or theirs is None:
        sys.exit("gpu.py: --check needs fovea and a peer")
    good = theirs / ours >= factor
    print(f"check: fovea's fastest is {theirs / ours:.2f} times as fast as the fastest peer (wanted {factor}): "
          + ("good" if good else "MISSED"))
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="mobilenet_v2")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--fovea", type=pathlib.Path, default=ROOT / "build/cuda/bin/fovea")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N, of fovea; peers take CUDA_VISIBLE_DEVICES's first")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--only", help="comma-separated candidates: " + ", ".join({**FOVEA, **PEERS}))
    parser.add_argument("--json", type=pathlib.Path, help="also write every round's numbers to this file")
    parser.add_argument("--check", type=float, metavar="FACTOR",
                        help="exit 1 unless fovea's fastest is FACTOR times as fast as the fastest peer")
    parser.add_argument("--worker", choices=(*MODULES, "export"), help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="f32", help=argparse.SUPPRESS)
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--onnx", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--torch-device", default="cuda", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        if args.worker == "export":
            result = export(args, args.onnx)
        else:
            result = {"torch": worker_torch, "onnxruntime": worker_onnxruntime, "tensorrt": worker_tensorrt}[args.worker](args)
        print(json.dumps(result))
        return 0

    gpu = the_gpu(args)
    if not gpu:
        print("gpu.py: there is no GPU here, nothing was timed", file=sys.stderr)
        return 2
    names = choose(args)
    if args.train:
        names = [name for name in names if name in FOVEA or PEERS[name][0] == "torch"]
    if not names:
        sys.exit("gpu.py: nothing to run")
    print(f"{gpu}\n{args.network} {'training step' if args.train else 'inference'}, batch {args.batch} at {args.size}, "
          f"{args.rounds} rounds of {args.runs} runs, load before {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as folder:
        onnx = pathlib.Path(folder) / "network.onnx"
        if any(name in PEERS and PEERS[name][0] != "torch" for name in names):
            try:
                json_of("export", worker_command("export", args) + ["--onnx", str(onnx)])
            except RuntimeError as error:
                print(f"ONNX Runtime and TensorRT left out: {error}", file=sys.stderr)
                names = [name for name in names if name in FOVEA or PEERS[name][0] == "torch"]
        rounds = measure(names, args, onnx)
    if not rounds:
        sys.exit("gpu.py: nothing ran")
    rows = summarise(rounds, args)
    print()
    print_table(rows)
    if args.json:
        args.json.write_text(json.dumps({"gpu": gpu, "rows": rows, "rounds": rounds}, indent=1) + "\n", encoding="utf-8")
    return check(rows, args.check) if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
