#!/usr/bin/env python3
"""Makes the reference files of tests/image from Pillow (and, where Pillow cannot say, from formulas written here).

    python3 make_reference.py [--photos SHARED_FOLDER]

Needs Pillow (13 or later) and numpy; run once more with a Pillow before 13 for resize_before_13.ref. Writes data/*.{jpg,png,bmp} (inputs), data/decode.ref, data/resize.ref and data/color.ref (what must
come out), and with --photos data/photos.txt: checksums of decoded and resized photos of the shared folder.
A .ref file: "FVREF1\n", then records: u16 name length, name, u32 width, height, channels, then width*height*channels bytes,
all little-endian.
"""
import argparse
import io
import os
import struct
import sys
import zlib

import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageOps

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
rng = np.random.default_rng(7)




def checksum(array):
    """CRC-32 and length: fast in Python, and in C++ by zlib."""
    data = np.ascontiguousarray(array, np.uint8).tobytes()
    return f"{zlib.crc32(data):08x} {len(data)}"


class Ref:
    def __init__(self, path):
        self.path, self.out = path, io.BytesIO()
        self.out.write(b"FVREF1\n")

    def add(self, name, picture):
        a = np.asarray(picture, np.uint8)
        if a.ndim == 2:
            a = a[:, :, None]
        self.out.write(struct.pack("<H", len(name)) + name.encode() + struct.pack("<III", a.shape[1], a.shape[0], a.shape[2]))
        self.out.write(a.tobytes())

    def close(self):
        with open(os.path.join(HERE, self.path), "wb") as f:
            f.write(self.out.getvalue())


def photo_like(w, h, channels):
    """Smooth colour with some edges and noise: JPEG-friendly but not trivial."""
    y, x = np.mgrid[0:h, 0:w].astype(float)
    planes = []
    for c in range(channels):
        p = 120 + 70 * np.sin(x / (3.0 + c) + c) + 50 * np.cos(y / (2.5 + c)) + rng.normal(0, 6, (h, w))
        p[(x + 2 * y) % 17 < 4] += 40 * (c - 1)
        planes.append(p)
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8).squeeze()


def write(name, data):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)


# ---------------------------------------------------------------- PNG of any kind
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def pack_rows(samples, depth):
    """samples h x w x n -> list of byte rows."""
    rows = []
    for row in samples:
        flat = row.reshape(-1)
        if depth == 16:
            rows.append(flat.astype(">u2").tobytes())
        elif depth == 8:
            rows.append(flat.astype(np.uint8).tobytes())
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in flat)
            bits += "0" * (-len(bits) % 8)
            rows.append(bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)))
    return rows


def filter_rows(rows, step, first=0):
    """Uses the five filters in turn, so that all are tested."""
    out, above = b"", None
    for i, row in enumerate(rows):
        up = above or bytes(len(row))
        f = (i + first) % 5
        line = bytearray()
        for k, v in enumerate(row):
            a = row[k - step] if k >= step else 0
            b, c = up[k], up[k - step] if k >= step else 0
            if f == 0: p = 0
            elif f == 1: p = a
            elif f == 2: p = b
            elif f == 3: p = (a + b) // 2
            else:
                e = a + b - c
                pa, pb, pc = abs(e - a), abs(e - b), abs(e - c)
                p = a if pa <= pb and pa <= pc else b if pb <= pc else c
            line.append((v - p) & 255)
        out += bytes([f]) + bytes(line)
        above = row
    return out


def make_png(samples, depth, kind, palette=None, trns=None, interlaced=False, exif=None, split=None):
    samples = np.asarray(samples)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    h, w, n = samples.shape
    step = max(1, n * depth // 8)
    if interlaced:
        raw = b""
        for x0, y0, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
            part = samples[y0::dy, x0::dx]
            if part.size:
                raw += filter_rows(pack_rows(part, depth), step, x0 + y0)
    else:
        raw = filter_rows(pack_rows(samples, depth), step, 1)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, int(interlaced)))
    out += chunk(b"tEXt", b"Comment\0made by make_reference.py")
    if palette is not None:
        out += chunk(b"PLTE", np.asarray(palette, np.uint8).tobytes())
    if trns is not None:
        out += chunk(b"tRNS", trns)
    if exif:
        out += chunk(b"eXIf", exif)
    data = zlib.compress(raw, 9)
    parts = [data[i : i + split] for i in range(0, len(data), split)] if split else [data]
    for p in parts:
        out += chunk(b"IDAT", p)
    return out + chunk(b"IEND", b"")


def exif_tiff(orientation, little=True):
    e = "<" if little else ">"
    return (b"II*\0" if little else b"MM\0*") + struct.pack(e + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


# ---------------------------------------------------------------- BMP of any kind
def make_bmp(rows, w, h, bits, palette=None, top_down=False, header=40, masks=None, entry=4, colors_used=0, gap=0):
    """rows: byte rows top to bottom, unpadded."""
    data = b"".join(r + bytes(-len(r) % 4) for r in (rows if top_down else rows[::-1]))
    pal = b"".join(bytes([b, g, r]) + bytes(entry - 3) for r, g, b in palette) if palette is not None else b""
    if header == 12:
        head = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", header, w, -h if top_down else h, 1, bits, 3 if masks else 0, len(data), 2835, 2835, colors_used, 0)
        if masks and header == 40:
            head += struct.pack("<III", *masks[:3])
        elif header > 40:
            extra = struct.pack("<IIII", *(masks or (0, 0, 0, 0)))
            head += (extra + bytes(header))[: header - 40]
    offset = 14 + len(head) + len(pal) + gap
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + pal + bytes(gap) + data


def decode_references():
    ref = Ref("decode.ref")
    w, h = 21, 14
    rgb, grey = photo_like(w, h, 3), photo_like(w, h, 1)

    def by_pillow(name, data, mode=None, transpose=False):
        write(name, data)
        picture = Image.open(io.BytesIO(data))
        if transpose:
            picture = ImageOps.exif_transpose(picture)
        ref.add(name, picture.convert(mode or ("L" if picture.mode in ("L", "1") else "RGB")))

    def by_formula(name, data, expected):
        write(name, data)
        ref.add(name, expected)

    def jpeg(array, mode=None, **options):
        out = io.BytesIO()
        Image.fromarray(array, mode).save(out, "JPEG", **options) if mode else Image.fromarray(array).save(out, "JPEG", **options)
        return out.getvalue()

    by_pillow("rgb_420.jpg", jpeg(rgb, quality=85, subsampling="4:2:0"))
    by_pillow("rgb_422.jpg", jpeg(rgb, quality=85, subsampling="4:2:2"))
    by_pillow("rgb_444.jpg", jpeg(rgb, quality=85, subsampling="4:4:4"))
    by_pillow("progressive.jpg", jpeg(rgb, quality=75, progressive=True))
    by_pillow("restarts.jpg", jpeg(rgb, quality=75, restart_marker_blocks=1))
    by_pillow("stored_rgb.jpg", jpeg(rgb, quality=90, keep_rgb=True))
    by_pillow("grey.jpg", jpeg(grey, quality=85))
    by_pillow("1x1.jpg", jpeg(rgb[:1, :1], quality=85))
    ink = np.concatenate([255 - rgb, photo_like(w, h, 1)[:, :, None] // 3], -1)
    cmyk = io.BytesIO()
    Image.fromarray(ink, "CMYK").save(cmyk, "JPEG", quality=90)
    cmyk = cmyk.getvalue()
    by_pillow("cmyk_adobe.jpg", cmyk)
    at = cmyk.index(b"Adobe")
    # The same data read as YCCK (Adobe's transform 2), and without Adobe's marker (ink not inverted).
    by_pillow("ycck_adobe.jpg", cmyk[: at + 11] + b"\x02" + cmyk[at + 12 :])
    begin = at - 4
    by_pillow("cmyk_plain.jpg", cmyk[:begin] + cmyk[at + 12 :])
    for o in range(1, 9):
        exif = b"Exif\0\0" + exif_tiff(o, o % 2 == 0)
        by_pillow(f"orientation_{o}.jpg", jpeg(rgb[:9, :13], quality=85, exif=exif), transpose=True)

    for depth in (1, 2, 4, 8, 16):
        v = rng.integers(0, 1 << depth, (h, w))
        eight = v >> 8 if depth == 16 else v * 255 // ((1 << depth) - 1)
        for interlaced in (False, True):
            name = f"grey_{depth}{'_interlaced' if interlaced else ''}.png"
            by_formula(name, make_png(v, depth, 0, interlaced=interlaced), eight)
            if depth < 16:
                assert np.array_equal(np.asarray(Image.open(os.path.join(HERE, name)).convert("L")), eight)
    for depth in (8, 16):
        v = rgb.astype(int) if depth == 8 else rng.integers(0, 65536, (h, w, 3))
        by_formula(f"rgb_{depth}.png", make_png(v, depth, 2, split=37), v if depth == 8 else v >> 8)
        by_formula(f"rgb_{depth}_interlaced.png", make_png(v, depth, 2, interlaced=True), v if depth == 8 else v >> 8)
        a = rng.integers(0, 1 << depth, (h, w, 1))
        shift = depth - 8
        by_formula(f"rgba_{depth}.png", make_png(np.concatenate([v, a], -1), depth, 6), v >> shift)
        g = rng.integers(0, 1 << depth, (h, w, 1))
        by_formula(f"grey_alpha_{depth}.png", make_png(np.concatenate([g, a], -1), depth, 4), g >> shift)
    for depth in (1, 2, 4, 8):
        n = 1 << depth
        palette = rng.integers(0, 256, (n, 3))
        index = rng.integers(0, n, (h, w))
        by_pillow(f"palette_{depth}.png", make_png(index, depth, 3, palette), "RGB")
        by_pillow(f"palette_{depth}_interlaced.png", make_png(index, depth, 3, palette, interlaced=True), "RGB")
    palette = rng.integers(0, 256, (16, 3))
    index = rng.integers(0, 16, (h, w))
    by_formula("palette_trns.png", make_png(index, 8, 3, palette, trns=bytes(range(0, 160, 20))), palette[index])
    # Indices beyond the palette are black.
    far = np.concatenate([palette, np.zeros((240, 3), int)])
    index = rng.integers(0, 24, (h, w))
    by_formula("palette_short.png", make_png(index, 8, 3, palette), far[index])
    by_formula("grey_trns.png", make_png(grey, 8, 0, trns=struct.pack(">H", int(grey[0, 0]))), grey)
    by_pillow("orientation_6.png", make_png(rgb[:9, :13], 8, 2, exif=exif_tiff(6)), transpose=True)
    # Blended over a colour, as Pillow pastes with a mask.
    rgba = np.concatenate([rgb, rng.integers(0, 256, (h, w, 1))], -1).astype(np.uint8)
    over = Image.new("RGB", (w, h), (10, 200, 77))
    over.paste(Image.fromarray(rgba, "RGBA").convert("RGB"), mask=Image.fromarray(rgba[:, :, 3]))
    write("blend.png", make_png(rgba, 8, 6))
    ref.add("blend.png over 10,200,77", over)

    flat = [bytes(r[:, ::-1].tobytes()) for r in rgb]
    by_pillow("rgb_24.bmp", make_bmp(flat, w, h, 24))
    by_pillow("rgb_24_top_down.bmp", make_bmp(flat, w, h, 24, top_down=True))
    by_pillow("rgb_24_os2.bmp", make_bmp(flat, w, h, 24, header=12))
    by_pillow("rgb_24_v5.bmp", make_bmp(flat, w, h, 24, header=124))
    four = np.concatenate([rgb[:, :, ::-1], rng.integers(0, 256, (h, w, 1))], -1).astype(np.uint8)
    by_pillow("rgb_32.bmp", make_bmp([r.tobytes() for r in four], w, h, 32))
    by_pillow("rgb_32_v4.bmp", make_bmp([r.tobytes() for r in four], w, h, 32, header=108, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)), "RGB")
    by_pillow("rgb_32_masks.bmp", make_bmp([r.tobytes() for r in four], w, h, 32, header=40, masks=(0xFF0000, 0xFF00, 0xFF)), "RGB")
    v = rng.integers(0, 32768, (h, w))
    five = np.stack([v >> 10 & 31, v >> 5 & 31, v & 31], -1)
    by_formula("rgb_555.bmp", make_bmp([r.astype("<u2").tobytes() for r in v], w, h, 16), five << 3 | five >> 2)
    v = rng.integers(0, 65536, (h, w))
    r5, g6, b5 = v >> 11, v >> 5 & 63, v & 31
    by_formula("rgb_565.bmp", make_bmp([r.astype("<u2").tobytes() for r in v], w, h, 16, masks=(0xF800, 0x7E0, 0x1F)),
               np.stack([r5 << 3 | r5 >> 2, g6 << 2 | g6 >> 4, b5 << 3 | b5 >> 2], -1))
    for bits in (1, 4, 8):
        palette = rng.integers(0, 256, (1 << bits, 3)).tolist()
        index = rng.integers(0, 1 << bits, (h, w))
        by_pillow(f"palette_{bits}.bmp", make_bmp(pack_rows(index[:, :, None], bits), w, h, bits, palette), "RGB")
        by_pillow(f"palette_{bits}_top_down.bmp", make_bmp(pack_rows(index[:, :, None], bits), w, h, bits, palette, top_down=True), "RGB")
    by_pillow("palette_8_os2.bmp", make_bmp(pack_rows(index[:, :, None], 8), w, h, 8, palette, header=12, entry=3), "RGB")
    by_formula("palette_few_colors.bmp", make_bmp(pack_rows(index[:, :, None] % 5, 8), w, h, 8, palette[:5], colors_used=5, gap=6),
               np.array(palette)[index % 5])
    by_pillow("grey_8.bmp", make_bmp(pack_rows(grey[:, :, None], 8), w, h, 8, [(i, i, i) for i in range(256)]))
    by_pillow("black_white_1.bmp", make_bmp(pack_rows((grey > 120)[:, :, None].astype(int), 1), w, h, 1, [(0, 0, 0), (255, 255, 255)]))
    ref.close()


FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


def resize_references(file="resize.ref"):
    rng = np.random.default_rng(11)
    ref = Ref(file)
    sources = {"rgb": rng.integers(0, 256, (17, 23, 3)).astype(np.uint8), "grey": rng.integers(0, 256, (29, 40)).astype(np.uint8)}
    sources["grey"] = sources["grey"] // 4 + np.linspace(0, 180, 40).astype(np.uint8)
    sources["rgb"][10:, 12:] = 255  # hard edges make bicubic and lanczos overshoot
    sources["rgb"][10:, 18:] = 0
    for name, a in sources.items():
        ref.add(f"source {name}", a)
    sizes = [(9, 7), (36, 29), (23, 5), (4, 17), (1, 1), (33, 2)]
    # The pass order changes where the height shrinks by more than twice what the width does: exactly twice, and one more.
    sizes += [(19, 9), (19, 8), (36, 21), (36, 20)]
    if "before" in file:
        sizes = [(33, 2)]
    for name, a in sources.items():
        picture = Image.fromarray(a)
        w, h = picture.size
        for f, number in FILTERS.items():
            for size in sizes:
                ref.add(f"{name} {f}", picture.resize(size, number))
            for size, box in [((11, 9), (1.5, 2.25, 17.75, 14.5)), ((w, h), (0.5, 0, w - 0.25, h)), ((8, 8), (3, 4, 11, 12)), ((20, 6), (0.1, 0.2, 7.3, 16.9))]:
                if "before" in file and size != (20, 6):
                    continue
                ref.add(f"{name} {f} {box[0]} {box[1]} {box[2]} {box[3]}", picture.resize(size, number, box))
    ref.close()


def color_references():
    ref = Ref("color.ref")
    a = np.concatenate([photo_like(16, 12, 3), rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)])
    picture = Image.fromarray(a)
    ref.add("source", a)
    ref.add("grey", picture.convert("L"))
    ref.add("hsv", np.asarray(picture.convert("HSV")))
    for turns in (-0.5, -0.21, 0.0, 0.1, 0.37, 0.5):
        hsv = np.asarray(picture.convert("HSV")).copy()
        hsv[:, :, 0] += np.array(int(turns * 255) & 255, np.uint8)  # torchvision.transforms.functional_pil.adjust_hue
        ref.add(f"hue {turns}", Image.fromarray(hsv, "HSV").convert("RGB"))
    for factor in (0.0, 0.4, 1.0, 1.7, 3.0):
        ref.add(f"brightness {factor}", ImageEnhance.Brightness(picture).enhance(factor))
        ref.add(f"contrast {factor}", ImageEnhance.Contrast(picture).enhance(factor))
        ref.add(f"saturation {factor}", ImageEnhance.Color(picture).enhance(factor))
    # All 2^24 colours through Pillow, as checksums.
    lines = []
    g, b = np.mgrid[0:256, 0:256].astype(np.uint8)
    crc = {"hsv": 0, "rgb": 0, "grey": 0}
    for r in range(256):
        plane = np.stack([np.full_like(g, r), g, b], -1)
        crc["hsv"] = zlib.crc32(np.asarray(Image.fromarray(plane).convert("HSV")).tobytes(), crc["hsv"])
        crc["rgb"] = zlib.crc32(np.asarray(Image.fromarray(plane, "HSV").convert("RGB")).tobytes(), crc["rgb"])
        crc["grey"] = zlib.crc32(np.asarray(Image.fromarray(plane).convert("L")).tobytes(), crc["grey"])
    for name, value in crc.items():
        lines.append(f"{name} {value:08x}\n")
    write("color_cube.txt", "".join(lines).encode())
    ref.close()


def photo_references(shared):
    lines = []
    names = ["golden/images/chelsea.png", "golden/images/china.jpg", "golden/images/coffee.png"]
    data = os.path.join(shared, "data")
    for root, folders, files in os.walk(data):
        folders.sort()
        pictures = sorted(f for f in files if f.lower().endswith((".jpg", ".jpeg", ".png", ".bmp")))
        names += [os.path.relpath(os.path.join(root, f), shared) for f in pictures[:1]]
    for name in names:
        picture = ImageOps.exif_transpose(Image.open(os.path.join(shared, name))).convert("RGB")
        lines.append(f"{name}\tdecode\t{picture.width}\t{picture.height}\t{checksum(picture)}\n")
        for f, number in FILTERS.items():
            for size in [(224, 224), (97, 300)]:
                lines.append(f"{name}\t{f}\t{size[0]}\t{size[1]}\t{checksum(picture.resize(size, number))}\n")
        s = 256
        w, h = picture.size
        size = (s, int(s * h / w)) if w <= h else (int(s * w / h), s)
        small = picture.resize(size, 2)
        left, top = int(round((size[0] - 224) / 2.0)), int(round((size[1] - 224) / 2.0))
        lines.append(f"{name}\timagenet\t224\t224\t{checksum(small.crop((left, top, left + 224, top + 224)))}\n")
    write("photos.txt", "".join(lines).encode())


if __name__ == "__main__":
    if int(PIL.__version__.split(".")[0]) < 13:
        # Older Pillow resamples columns first, always: only that is taken from it.
        resize_references("resize_before_13.ref")
        sys.exit()
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", metavar="SHARED_FOLDER")
    options = parser.parse_args()
    os.makedirs(HERE, exist_ok=True)
    print("Pillow", PIL.__version__, "numpy", np.__version__, file=sys.stderr)
    decode_references()
    resize_references()
    color_references()
    if options.photos:
        photo_references(options.photos)
