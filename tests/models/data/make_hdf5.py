#!/usr/bin/env python3
"""Writes hdf5_*.h5 with h5py, and hdf5.json with what h5py (so libhdf5) reads from them: the tests compare.

    pip install h5py==3.16.0 numpy && python3 make_hdf5.py

Made with h5py 3.16.0 (HDF5 2.0.0). Values of datasets are kept as the FNV-1a 64 checksum of their little-endian bytes,
in the element type that fovea gives: integers that it does not have become the next larger one.
"""
import json
import os

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
DTYPES = {"f2": "f16", "f4": "f32", "f8": "f64", "i1": "i8", "u1": "u8", "b1": "i8", "i4": "i32", "i8": "i64"}
WIDER = {"i2": "i4", "u2": "i4", "u4": "i8", "u8": "i8"}


def noise(*shape, dtype="f4", seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def steps(*shape, dtype="i4"):
    """Values that compress well."""
    return (np.arange(int(np.prod(shape))) // 7 % 90).reshape(shape).astype(dtype)


def types(file):
    group = file.create_group("types")
    for dtype in ("<f2 <f4 <f8 >f2 >f4 >f8 i1 u1 <i2 >i2 <u2 <i4 >i4 <u4 <i8 <u8").split():
        name = dtype.replace("<", "le_").replace(">", "be_")
        data = noise(2, 3) if "f" in dtype else np.arange(6).reshape(2, 3) - (0 if "u" in dtype else 3)
        if dtype == "<u4":
            data = data + 4294967290
        group[name] = data.astype(dtype)
    group["bool"] = np.array([True, False, True])


def shapes(file):
    group = file.create_group("shapes")
    group["scalar"] = np.float32(2.5)
    group["empty"] = np.zeros((0, 4), "f4")
    group["null"] = h5py.Empty("f4")
    group["rank8"] = noise(1, 2, 1, 2, 1, 2, 1, 3)
    group.create_dataset("unwritten", (3, 2), "f4")
    group.create_dataset("filled", (3, 2), "f4", fillvalue=1.5)
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(group.id, b"compact", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((5,)), compact)
    group["compact"][...] = noise(5)


def chunks(file):
    group = file.create_group("chunks")
    packed = {"compression": "gzip", "shuffle": True}
    group.create_dataset("plain", data=noise(7, 10), chunks=(3, 4))
    group.create_dataset("one", data=noise(5, 6), chunks=(5, 6))
    group.create_dataset("all", data=steps(9, 30, dtype="f4"), chunks=(4, 8), fletcher32=True, **packed)
    sparse = group.create_dataset("sparse", (20, 20), "f4", chunks=(4, 4), fillvalue=-1)
    sparse[5:9, 5:9] = noise(4, 4)


def more_chunks(file):
    group = file["chunks"]
    packed = {"compression": "gzip", "shuffle": True}
    group.create_dataset("one_gzip", data=steps(9, 30, dtype="f4"), chunks=(9, 30), **packed)
    group.create_dataset("grows", data=steps(50, 3, dtype="f8"), chunks=(2, 3), maxshape=(None, 3))
    group.create_dataset("grows_gzip", data=steps(3, 20), chunks=(3, 2), maxshape=(3, None), **packed)
    group.create_dataset("grows_both", data=noise(9, 9), chunks=(2, 2), maxshape=(None, None))
    group.create_dataset("both_gzip", data=steps(20, 9), chunks=(5, 4), maxshape=(None, None), compression="gzip")
    group.create_dataset("reserve", data=noise(5, 4), chunks=(2, 2), maxshape=(8, 6))
    # Space that is taken at once gives an implicit index.
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((2, 2))
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    h5py.h5d.create(group.id, b"early", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((6, 5)), plist)
    group["early"][...] = noise(6, 5)


def names(file):
    many = file.create_group("many")
    for i in range(30):
        many[f"member_{i:03d}"] = np.float32(i)
    for i in range(20):
        many.attrs[f"attribute_{i:03d}"] = i * 0.5
    many.attrs["long"] = "x" * 300
    many.attrs["long_fixed"] = np.bytes_(b"y" * 4100)  # too large for the blocks of a fractal heap
    many["again"] = many
    file["soft"] = h5py.SoftLink("/many/member_007")
    file["chain"] = h5py.SoftLink("/soft")
    file["round"] = h5py.SoftLink("/about")
    file["about"] = h5py.SoftLink("/round")
    file["dangling"] = h5py.SoftLink("many/nobody")
    file["outside"] = h5py.ExternalLink("other.h5", "/x")
    texts = file.create_group("texts")
    texts.attrs["one"] = "tiger, tabby: \u00e4\u2713"
    texts.attrs["bytes"] = b"bytes"
    texts.attrs["fixed"] = np.array([b"a", b"longer", b""], dtype="S6")
    texts.attrs["variable"] = ["first", "", "third, longer than the others"]
    texts.attrs["none"] = []
    texts.attrs["numbers"] = np.arange(4, dtype="i8")


def large(file):
    """Indexes so large that they are cut into pages, super blocks and levels."""
    file.create_dataset("tree", data=steps(10, 9, dtype="i1"), chunks=(1, 1), maxshape=(None, None))
    file.create_dataset("fixed", data=steps(1100, dtype="i1"), chunks=(1,))
    file.create_dataset("growing", data=steps(320, dtype="i1"), chunks=(1,), maxshape=(None,))


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def describe(path):
    found = {"datasets": {}, "texts": {}, "attributes": {}}

    def visit(name, item):
        for key, value in item.attrs.items():
            where = f"/{name}@{key}"
            if isinstance(value, str):
                found["texts"][where] = [value]
            elif isinstance(value, (np.ndarray, np.bytes_)) and value.dtype.kind in "SO":
                found["texts"][where] = [v.decode() if isinstance(v, bytes) else v for v in np.atleast_1d(value)]
            else:
                found["attributes"][where] = int(np.size(value))
        if isinstance(item, h5py.Dataset):
            if item.shape is None:
                found["datasets"]["/" + name] = ["f32", [0], fnv(b"")]
                return
            data = item[...]
            kind = data.dtype.newbyteorder("<").str.lstrip("<|=>")
            kind = WIDER.get(kind, kind)
            found["datasets"]["/" + name] = [DTYPES[kind], list(data.shape), fnv(data.astype("<" + kind).tobytes())]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


FILES = {
    "earliest": ("earliest", 0, [types, shapes, chunks, names]),
    "v108": (("v108", "v108"), 512, [names]),
    "v110": (("v110", "v110"), 0, [chunks, more_chunks]),
    "latest": ("latest", 0, [types, shapes, chunks, more_chunks, names, large]),
}


def main():
    expected = {}
    for name, (libver, userblock, parts) in FILES.items():
        path = os.path.join(HERE, f"hdf5_{name}.h5")
        with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
            for part in parts:
                part(file)
        expected[os.path.basename(path)] = describe(path)
    with open(os.path.join(HERE, "hdf5.json"), "w") as out:
        json.dump(expected, out, separators=(",", ":"), sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    main()
