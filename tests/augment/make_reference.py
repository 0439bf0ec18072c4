#!/usr/bin/env python3
"""Writes data/reference.json: what Pillow and NumPy make of small pictures, for transform_test.cc.

Run with: pip install numpy pillow; python3 tests/augment/make_reference.py. The tests only read the result, so Python is
needed by nobody else. Operations and magnitudes are those that torchvision's RandAugment and TrivialAugmentWide document;
its functions on PIL pictures call the Pillow functions used here.
"""
import json
import math
import os

import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageOps

W, H = 13, 9


def picture(channels):
    y, x, c = np.meshgrid(np.arange(H), np.arange(W), np.arange(channels), indexing="ij")
    # Smooth enough for resampling to differ visibly between methods, rough enough for histograms.
    values = 128 + 90 * np.sin(0.55 * x + 0.4 * c) * np.cos(0.5 * y - 0.3 * c) + 25 * ((x * 7 + y * 3 + c) % 3 - 1)
    a = np.clip(np.rint(values), 12, 243).astype(np.uint8)
    return a[:, :, 0] if channels == 1 else a


def flat(image):
    """Pixels as hexadecimal digits, two each: a third of the size of JSON numbers."""
    return np.asarray(image, np.uint8).tobytes().hex()


def forward_affine(angle, translate, scale, shear, center):
    """Shear, scale and rotate about the centre, then translate, as 3x3 matrices (RandomAffine's documentation)."""
    def move(x, y):
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], float)

    r, sx, sy = (math.radians(v) for v in (angle, shear[0], shear[1]))
    rotate = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    # RSS = rotation * scale * shear_y * shear_x, with shear_y and shear_x as torchvision writes them.
    shear_x = np.array([[1, -math.tan(sx), 0], [0, 1, 0], [0, 0, 1]])
    shear_y = np.array([[1, 0, 0], [-math.tan(sy), 1, 0], [0, 0, 1]])
    return (move(*translate) @ move(*center) @ rotate @ np.diag([scale, scale, 1]) @ shear_y @ shear_x
            @ move(-center[0], -center[1]))


def warp(image, m, bilinear, fill):
    return image.transform(image.size, Image.Transform.AFFINE, tuple(m.reshape(-1)[:6]),
                           Image.Resampling.BILINEAR if bilinear else Image.Resampling.NEAREST, fillcolor=fill)


def padded_warp(array, m, mode, bilinear):
    """Sampling with a border of NumPy's pad modes: 'edge', or 'symmetric' (the edge pixel repeated)."""
    pad = 40
    a = np.pad(array.astype(float), ((pad, pad), (pad, pad)) + ((0, 0),) * (array.ndim - 2), mode=mode)
    out = np.zeros_like(array)
    for y in range(H):
        for x in range(W):
            px, py, _ = m @ np.array([x + 0.5, y + 0.5, 1])
            if not bilinear:
                out[y, x] = a[math.floor(py) + pad, math.floor(px) + pad]
                continue
            px, py = px - 0.5, py - 0.5
            x0, y0 = math.floor(px), math.floor(py)
            fx, fy = px - x0, py - y0
            at = lambda i, j: a[j + pad, i + pad]
            value = ((at(x0, y0) * (1 - fx) + at(x0 + 1, y0) * fx) * (1 - fy)
                     + (at(x0, y0 + 1) * (1 - fx) + at(x0 + 1, y0 + 1) * fx) * fy)
            out[y, x] = np.floor(value + 0.5)
    return out


def gaussian(array, deviation):
    radius = math.ceil(3 * deviation)
    k = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    k /= k.sum()
    a = array.astype(float)
    for axis in (0, 1):
        n, out = a.shape[axis], np.zeros_like(a)
        padded = np.pad(a, [(radius, radius) if i == axis else (0, 0) for i in range(a.ndim)], mode="reflect")
        for i, weight in enumerate(k):
            out += weight * np.take(padded, range(i, i + n), axis=axis)
        a = out
    return np.clip(np.floor(a + 0.5), 0, 255).astype(np.uint8)


def policy(image, op, magnitude):
    """torchvision's _apply_op on a PIL picture, nearest interpolation, black fill."""
    w, h = image.size
    zero = 0 if image.mode == "L" else (0, 0, 0)
    if op in ("ShearX", "ShearY"):
        degrees = math.degrees(math.atan(magnitude))
        shear = (degrees, 0) if op == "ShearX" else (0, degrees)
        return warp(image, np.linalg.inv(forward_affine(0, (0, 0), 1, shear, (0, 0))), False, zero)
    if op == "TranslateX":
        return warp(image, np.linalg.inv(forward_affine(0, (int(magnitude), 0), 1, (0, 0), (0, 0))), False, zero)
    if op == "TranslateY":
        return warp(image, np.linalg.inv(forward_affine(0, (0, int(magnitude)), 1, (0, 0), (0, 0))), False, zero)
    if op == "Rotate":
        return image.rotate(magnitude, Image.Resampling.NEAREST, fillcolor=zero)
    if op in ("Brightness", "Color", "Contrast", "Sharpness"):
        return getattr(ImageEnhance, op)(image).enhance(1 + magnitude)
    if op == "Posterize":
        return ImageOps.posterize(image, int(magnitude))
    if op == "Solarize":
        return ImageOps.solarize(image, magnitude)
    if op == "AutoContrast":
        return ImageOps.autocontrast(image)
    if op == "Equalize":
        return ImageOps.equalize(image)
    return image


def outcomes(image, share, shear, translate_x, translate_y, degrees, enhance, bits):
    """Every result the policy may give at this magnitude, by name."""
    out = {"Identity": policy(image, "Identity", 0)}
    for op, limit in (("ShearX", shear), ("ShearY", shear), ("TranslateX", translate_x), ("TranslateY", translate_y),
                      ("Rotate", degrees), ("Brightness", enhance), ("Color", enhance), ("Contrast", enhance),
                      ("Sharpness", enhance)):
        for sign in (1, -1):
            out[f"{op} {'+' if sign > 0 else '-'}"] = policy(image, op, sign * limit * share)
    out["Posterize"] = policy(image, "Posterize", 8 - round(share * bits))
    out["Solarize"] = policy(image, "Solarize", 255 * (1 - share))
    out["AutoContrast"] = policy(image, "AutoContrast", 0)
    out["Equalize"] = policy(image, "Equalize", 0)
    return {name: flat(result) for name, result in out.items()}


def main():
    ref = {"made_with": f"Pillow {PIL.__version__}, NumPy {np.__version__}", "width": W, "height": H,
           "pictures": {}, "pixel_ops": [], "matrices": [], "warps": [], "rand_augment": {}, "trivial_augment": {}}
    for channels in (1, 3):
        array = picture(channels)
        image = Image.fromarray(array)
        ref["pictures"][str(channels)] = flat(array)
        ops = [("posterize", bits, ImageOps.posterize(image, bits)) for bits in (1, 3, 8)]
        ops += [("solarize", t, ImageOps.solarize(image, t)) for t in (0, 100, 128, 256)]
        ops += [("autocontrast", 0, ImageOps.autocontrast(image)), ("equalize", 0, ImageOps.equalize(image))]
        ops += [("sharpness", f, ImageEnhance.Sharpness(image).enhance(f)) for f in (0.0, 0.4, 1.9, 3.0)]
        ops += [("gaussian_blur", d, gaussian(array, d)) for d in (0.4, 1.0, 2.3)]
        for name, value, result in ops:
            ref["pixel_ops"].append({"op": name, "value": value, "channels": channels, "result": flat(result)})
        fill = 200 if channels == 1 else (200, 50, 25)
        cases = [(0, (0, 0), 1, (0, 0)), (90, (0, 0), 1, (0, 0)), (180, (0, 0), 1, (0, 0)), (0, (3, -2), 1, (0, 0)),
                 (17, (0, 0), 1, (0, 0)), (-33.5, (1.5, 0.25), 1.3, (0, 0)), (0, (0, 0), 0.6, (0, 0)),
                 (0, (0, 0), 1, (20, 0)), (0, (0, 0), 1, (0, -15)), (25, (-1, 2), 0.8, (10, 5))]
        for angle, translate, scale, shear in cases:
            m = np.linalg.inv(forward_affine(angle, translate, scale, shear, (W * 0.5, H * 0.5)))
            if channels == 1:
                ref["matrices"].append({"angle": angle, "translate": translate, "scale": scale, "shear": shear,
                                        "inverse": m.reshape(-1)[:6].tolist()})
            if channels == 3 and angle != 25 and scale != 1.3:
                continue  # what colour adds shows in two cases
            for bilinear in (True, False):
                for border in ("constant", "edge", "reflect"):
                    result = (warp(image, m, bilinear, fill) if border == "constant" else
                              padded_warp(array, m, "edge" if border == "edge" else "symmetric", bilinear))
                    ref["warps"].append({"matrix": m.reshape(-1)[:6].tolist(), "channels": channels,
                                         "bilinear": bilinear, "border": border, "result": flat(result)})
        # RandAugment at magnitude 9 of 31; TrivialAugmentWide with two bins, whose second is the largest magnitude.
        ref["rand_augment"][str(channels)] = outcomes(image, 9 / 30, 0.3, 150 / 331 * W, 150 / 331 * H, 30, 0.9, 4)
        ref["trivial_augment"][str(channels)] = outcomes(image, 1, 0.99, 32, 32, 135, 0.99, 6)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "reference.json")
    with open(path, "w") as f:
        f.write(json.dumps(ref, separators=(",", ":")).replace('},{"', '},\n{"') + "\n")
    print(path, os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
