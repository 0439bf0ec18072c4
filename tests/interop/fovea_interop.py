"""What the interop scripts share: tensors in safetensors files with NumPy alone, running the fovea program, comparing."""

import json
import pathlib
import struct
import subprocess
import tempfile

import numpy as np

_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def write_safetensors(path, tensors):
    names = {np.dtype(t): n for n, t in _TYPES.items()}
    header, at, blobs = {}, 0, []
    for name, array in tensors.items():
        array = np.asarray(array)
        blob = array.tobytes()  # C order whatever the strides
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        for blob in blobs:
            f.write(blob)


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    out = {}
    for name, about in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        out[name] = np.frombuffer(data[8 + size + begin : 8 + size + end], _TYPES[about["dtype"]]).reshape(about["shape"])
    return out


class Fovea:
    """Runs the program's subcommands in a folder of its own."""

    def __init__(self, program):
        self.program = str(pathlib.Path(program).resolve())
        self._folder = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self._folder.name)

    def __call__(self, *arguments):
        result = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"fovea {' '.join(map(str, arguments))}\n{result.stderr.strip()}")
        return result.stderr + result.stdout

    def logits(self, weights, x, *options):
        """x: NHWC float32, as the network's first layer takes it."""
        write_safetensors(self.folder / "x.safetensors", {"input": x.astype(np.float32)})
        out = self.folder / "y.safetensors"
        said = self("run", weights, "--input", self.folder / "x.safetensors", "--output", out, *options)
        found = read_safetensors(out)
        return found["logits" if "logits" in found else "features"], said.splitlines()[0] if said else ""


class Report:
    """One line per case; exit status 1 if any failed."""

    def __init__(self):
        self.failed = 0

    def compare(self, name, ours, theirs, tolerance=1e-3, note=""):
        """Greatest difference over the standard deviation of theirs."""
        if ours.shape != theirs.shape:
            return self.fail(name, f"shape {ours.shape}, expected {theirs.shape}")
        difference = float(np.max(np.abs(ours.astype(np.float64) - theirs)) / max(float(np.std(theirs)), 1e-12))
        if not difference <= tolerance:
            return self.fail(name, f"differs by {difference:.2e} standard deviations {note}")
        print(f"ok    {name:48} {difference:.1e}  {note}", flush=True)

    def fail(self, name, reason):
        self.failed += 1
        print(f"FAIL  {name:48} {reason}", flush=True)

    def status(self):
        print("all agree" if self.failed == 0 else f"{self.failed} failed")
        return 1 if self.failed else 0
