"""Renders lines of text in several fonts and sizes into tests/insight/data/text.png (coverage, white on black, one line
below the other) and text.csv (top, width, height of each), for tests/insight/text_test.cc. Needs Pillow, and Debian's
fonts-dejavu-core, fonts-liberation and fonts-freefont-ttf. usage: make_text.py"""

import pathlib

from PIL import Image, ImageDraw, ImageFont

LINES = [
    ("dejavu/DejaVuSans.ttf", 12, "SMITH^JOHN 1961-03-04"),
    ("dejavu/DejaVuSans-Bold.ttf", 14, "Patient: Maria Garcia"),
    ("dejavu/DejaVuSansMono.ttf", 13, "ID 4711-88213"),
    ("dejavu/DejaVuSansMono-Bold.ttf", 16, "CAM07 2024-05-17"),
    ("dejavu/DejaVuSerif.ttf", 15, "St. Mary Hospital"),
    ("liberation/LiberationSans-Regular.ttf", 11, "2019-11-30 06:32:11"),
    ("liberation/LiberationSans-Bold.ttf", 18, "PORTABLE AP"),
    ("liberation/LiberationMono-Regular.ttf", 14, "BUSHNELL 17C 22:41"),
    ("liberation/LiberationSerif-Italic.ttf", 20, "Mueller, Anna"),
    ("liberation/LiberationSansNarrow-Bold.ttf", 17, "DOB: 1948-12-01"),
    ("freefont/FreeSans.ttf", 22, "MRN 90817263"),
    ("freefont/FreeMonoBold.ttf", 24, "NGUYEN LI"),
]

data = pathlib.Path(__file__).parent / "data"
strips, rows, top = [], ["top,width,height,text"], 0
for name, size, text in LINES:
    font = ImageFont.truetype("/usr/share/fonts/truetype/" + name, size)
    left, up, right, down = font.getbbox(text)
    strip = Image.new("L", (right - left, down - up))
    ImageDraw.Draw(strip).text((-left, -up), text, font=font, fill=255)
    rows.append(f'{top},{strip.width},{strip.height},"{text}"')
    strips.append((top, strip))
    top += strip.height
whole = Image.new("L", (max(s.width for _, s in strips), top))
for at, strip in strips:
    whole.paste(strip, (0, at))
whole.save(data / "text.png", optimize=True)
(data / "text.csv").write_text("\n".join(rows) + "\n")
