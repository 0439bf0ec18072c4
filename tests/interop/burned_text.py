"""How much text that is written into pictures `fovea anonymize` masks, and how many clean pictures it touches.

Plants names, dates and numbers in many fonts, sizes and styles (plain, outlined, on banners) into pictures of the shared
data, runs the program, and looks at its result: a text counts as masked where 95 % of its letters' pixels are black.
Clean are photographs and steel surfaces without text of their own; X-rays nearly all have labels, which ought to be
found, so only the middle of them is looked at. Fails below 95 % and above 2 %.

usage: burned_text.py FOVEA_PROGRAM SHARED [EACH [SEED]]     (needs Pillow, numpy and fonts in /usr/share/fonts/truetype)
"""

import collections
import csv
import glob
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageDraw, ImageFont

fovea, shared = os.path.abspath(sys.argv[1]), sys.argv[2]
each = int(sys.argv[3]) if len(sys.argv) > 3 else 100
random.seed(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
OWN_TEXT = {"0013035", "1262877379_64fcada201", "408393566_b5b694119b", "imageNotFound", "2908916142_a7ac8b57a8",
            "476347960_52edd72b06"}
fonts = sorted(f for f in glob.glob("/usr/share/fonts/truetype/*/*.ttf") if not any(
    odd in f for odd in ("Math", "ExtraLight", "Symbol")))


def text():
    pick, number = random.choice, random.randint
    name = pick(["SMITH", "JONES", "Garcia", "Mueller", "NGUYEN", "Kowalski", "OBRIEN", "Tanaka"])
    first = pick(["JOHN", "Anna", "PETER", "Maria", "LI", "Omar", "EVA"])
    day = f"{number(1930, 2024):04}-{number(1, 12):02}-{number(1, 28):02}"
    time = f"{number(0, 23):02}:{number(0, 59):02}:{number(0, 59):02}"
    return pick([f"{name}^{first}", f"{first} {name}", f"{name}, {first} {day}", f"ID {number(10**5, 10**7)}",
                 f"{day} {time}", f"DOB: {day}", f"CAM{number(1, 40):02} {day} {time}", f"{day}  {number(-9, 35)}C",
                 f"Patient: {first} {name}", "PORTABLE AP", f"MRN {number(10**6, 10**8)}", "St. Mary Hospital",
                 f"BUSHNELL {time}", f"ACC {number(10**5, 10**7)} {name}"])


def plant(im):
    """The picture with text, and where its letters are; None where nobody could read it."""
    scale = random.choice([1, 1, 1, 2])
    if scale > 1:
        im = im.resize((im.width * scale, im.height * scale), Image.BICUBIC)
    words, size = text(), random.randint(10, 26) * scale
    path = random.choice(fonts)
    while True:
        font = ImageFont.truetype(path, size)
        left, top, right, bottom = font.getbbox(words)
        w, h = right - left, bottom - top
        if w <= im.width - 8:
            break
        size -= 1
        if size < 9:
            return None
    x = random.choice([4, im.width - w - 4, random.randint(3, max(3, im.width - w - 4))])
    y = random.choice([4, im.height - h - 5, random.randint(3, im.height - h - 5)])
    letters = Image.new("L", im.size)
    ImageDraw.Draw(letters).text((x - left, y - top), words, font=font, fill=255)
    style = random.choice(["plain", "plain", "outline", "banner", "banner"])
    draw, at = ImageDraw.Draw(im), (x - left, y - top)
    if style == "banner":
        dark = random.random() < 0.7
        box = (0, y - 4, im.width, y + h + 4) if random.random() < 0.5 else (x - 5, y - 4, x + w + 5, y + h + 4)
        draw.rectangle(box, fill=(0, 0, 0) if dark else (255, 255, 255))
        yellow = dark and random.random() < 0.2
        draw.text(at, words, font=font, fill=(255, 255, 0) if yellow else (255, 255, 255) if dark else (0, 0, 0))
    elif style == "outline":
        draw.text(at, words, font=font, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    else:
        around = np.asarray(im.convert("L"))[max(0, y - 2):y + h + 2, max(0, x - 2):x + w + 2]
        if np.percentile(around, 90) < 150:
            color = random.choice([(255, 255, 255), (255, 255, 255), (255, 255, 0)])
        elif np.percentile(around, 10) > 110:
            color = (0, 0, 0)
        else:
            return None
        draw.text(at, words, font=font, fill=color)
    return im, np.asarray(letters) > 127, f"{style} {os.path.basename(path)} {size}: {words}"


def anonymize(folder, out):
    link = out + ".csv"
    command = [fovea, "anonymize", folder, "--out", out, "--key", out + ".key", "--link", link, "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with open(link) as file:
        return {os.path.basename(row["source"]): os.path.join(out, row["path"]) for row in csv.DictReader(file)}


with tempfile.TemporaryDirectory() as work:
    os.makedirs(work + "/planted")
    os.makedirs(work + "/clean")
    truth, sets = {}, {}
    for name in ("xray", "hymenoptera", "steel"):
        files = sorted(glob.glob(f"{shared}/data/{name}/*/*/*"))
        random.shuffle(files)
        made = 0
        for path in files:
            planted = plant(Image.open(path).convert("RGB")) if made < each else None
            if planted:
                file = f"{name}{made}." + random.choice(["png", "jpg"])
                planted[0].save(f"{work}/planted/{file}", quality=random.choice([80, 90, 95]))
                truth[file] = planted[1:]
                made += 1
        clean = 0
        for path in files:
            if clean >= 2 * each or os.path.splitext(os.path.basename(path))[0] in OWN_TEXT:
                continue
            im = Image.open(path)
            if name == "xray":
                im = im.crop((im.width // 5, im.height // 5, im.width * 4 // 5, im.height * 4 // 5))
            file = f"{name}{clean}.png"
            im.save(f"{work}/clean/{file}")
            sets[file] = name
            clean += 1

    results = anonymize(work + "/planted", work + "/out_planted")
    found = 0
    for file, (letters, what) in truth.items():
        grey = np.asarray(Image.open(results[file]).convert("L"))
        # Black letters are black before: the ground next to them has to be black as well.
        ring = np.zeros_like(letters)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                ring |= np.roll(letters, (dy, dx), (0, 1))
        share = np.mean(grey[ring] < 24)
        found += share >= 0.95
        if share < 0.95:
            print(f"  missed {100 * (1 - share):.0f} % of {what}")
    results = anonymize(work + "/clean", work + "/out_clean")
    touched, count = collections.Counter(), collections.Counter(sets.values())
    for file, name in sets.items():
        before = np.asarray(Image.open(f"{work}/clean/{file}").convert("RGB"))
        if not np.array_equal(before, np.asarray(Image.open(results[file]).convert("RGB"))):
            touched[name] += 1
    share_found, share_touched = found / len(truth), sum(touched.values()) / len(sets)
    print(f"planted text masked: {found} of {len(truth)} ({100 * share_found:.1f} %)")
    print("clean pictures touched: " + ", ".join(f"{touched[n]} of {count[n]} {n}" for n in count) +
          f" ({100 * share_touched:.1f} %)")
    sys.exit(share_found < 0.95 or share_touched > 0.02)
