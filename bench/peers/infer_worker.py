"""One peer in a process of its own; infer.py starts it and sends commands, one JSON object a line.

    {"do": "check", "output": FILE}            runs once and writes the logits there as .npy
    {"do": "time", "warmup": W, "runs": N}     answers with the milliseconds of N runs
    {"do": "end"}

It waits for its turn blocked on its input, so that it takes no processor time from the others. The input, [batch,
height, width, channels] in f32, is turned into the layout and element type of the peer before timing begins: only the
network is timed, as `fovea bench` does.
"""
import argparse
import json
import os
import sys
import time

import numpy as np

from common import reset_peak, resident_mb, timed


class LiteRt:
    def __init__(self, args, x):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(args.model, num_threads=args.threads)
        self.interpreter.allocate_tensors()
        self.source = self.interpreter.get_input_details()[0]
        self.target = self.interpreter.get_output_details()[0]
        if self.source["dtype"] == np.int8:
            scale, zero = self.source["quantization"]
            x = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
        self.interpreter.set_tensor(self.source["index"], x)
        self.run = self.interpreter.invoke

    def logits(self):
        y = self.interpreter.get_tensor(self.target["index"])
        if y.dtype == np.int8:
            scale, zero = self.target["quantization"]
            y = (y.astype(np.float32) - zero) * scale
        return y

    def note(self):
        """How much XNNPACK took: all of it is one delegate between the network's input and output."""
        parts = [op for op in self.interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
        if len(parts) == 1 and self.source["index"] in parts[0]["inputs"] and self.target["index"] in parts[0]["outputs"]:
            return "all in XNNPACK"
        return f"in XNNPACK are {len(parts)} parts, the rest is not" if parts else "XNNPACK is NOT in use"


class OnnxRuntime:
    def __init__(self, args, x):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(args.model, options, providers=["CPUExecutionProvider"])
        self.x = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        self.binding = session.io_binding()
        self.binding.bind_ortvalue_input(session.get_inputs()[0].name, self.x)
        self.binding.bind_output(session.get_outputs()[0].name, "cpu")
        self.run = lambda: session.run_with_iobinding(self.binding)

    def logits(self):
        return self.binding.copy_outputs_to_cpu()[0]

    def note(self):
        return ""


class OpenVino:
    def __init__(self, args, x):
        import openvino

        compiled = openvino.Core().compile_model(args.model, "CPU", {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": args.threads, "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if args.dtype == "bf16" else "f32"})
        self.compiled = compiled
        self.request = compiled.create_infer_request()
        self.request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))
        self.run = lambda: self.request.infer(share_outputs=True)  # without a copy of the logits

    def logits(self):
        return np.array(self.request.get_output_tensor().data)

    def note(self):
        return f"precision hint {self.compiled.get_property('INFERENCE_PRECISION_HINT').to_string()}"


RUNTIMES = {"litert": LiteRt, "onnxruntime": OnnxRuntime, "openvino": OpenVino}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", choices=RUNTIMES, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True, help=".npy")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", required=True)
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a runtime prints on its own must not come between the answers
    x = np.load(args.input)
    reset_peak()
    before, begin = resident_mb(), time.perf_counter()
    peer = RUNTIMES[args.runtime](args, x)
    loading = (time.perf_counter() - begin) * 1e3
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "end":
            break
        if command["do"] == "check":
            peer.run()
            np.save(command["output"], peer.logits())
            answer = {"note": peer.note(), "load_ms": loading}
        else:
            answer = {"times_ms": timed(peer.run, command["warmup"], command["runs"]),
                      "peak_memory_mb": resident_mb("VmHWM") - before}
        print(json.dumps(answer), file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
