#!/usr/bin/env python3
"""Opens a report in headless Chromium and looks at it as a reader would: does it load by itself, hold what it promises,
say the numbers of `fovea evaluate`, answer the keyboard, fit a telephone, follow light and dark.

usage: report.py FOVEA_PROGRAM   (needs chromium; without it: SKIPPED, exit code 77)
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

chromium = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
if not chromium:
    print("SKIPPED: chromium is not installed")
    sys.exit(77)
fovea = os.path.realpath(sys.argv[1])
failures = []


def check(what, holds):
    if not holds:
        failures.append(what)
        print("FAILED:", what)


def write_bmp(path, colour, seed, side=24):
    """Noise of a colour, as an uncompressed 24-bit bitmap."""
    rng = random.Random(seed)
    row = -(-side * 3 // 4) * 4
    size = 54 + row * side
    header = b"BM" + size.to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    header += (40).to_bytes(4, "little") + side.to_bytes(4, "little") * 2 + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    body = b"".join(bytes(min(255, rng.randrange(150) + c) for _ in range(side) for c in colour) + bytes(row - 3 * side) for _ in range(side))
    with open(path, "wb") as file:
        file.write(header + body)


class Browser:
    """The DevTools protocol over a pipe: JSON messages that end in a zero byte."""

    def __init__(self, profile):
        to_read, self.to = os.pipe()
        self.back, from_write = os.pipe()

        def place():  # the browser reads from descriptor 3 and writes to 4
            os.dup2(os.dup(to_read), 103)
            os.dup2(os.dup(from_write), 104)
            os.dup2(103, 3)
            os.dup2(104, 4)

        self.process = subprocess.Popen(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             f"--user-data-dir={profile}", "--remote-debugging-pipe"],
            close_fds=False, preexec_fn=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.buffer, self.number, self.events, self.session = b"", 0, [], None

    def receive(self):
        while b"\0" not in self.buffer:
            part = os.read(self.back, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        while not any(e.get("method") == method for e in self.events):
            self.events.append(self.receive())

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def close(self):
        self.process.kill()
        self.process.wait()


with tempfile.TemporaryDirectory() as work:
    hostile = "<svg onload=pwned=1>"
    for part, each in (("train", 30), ("val", 25)):
        for k, name in enumerate((hostile, "bee", "cat")):
            os.makedirs(f"{work}/data/{part}/{name}")
            for i in range(each):
                colour = [0, 0, 0]
                colour[k] = 60
                write_bmp(f"{work}/data/{part}/{name}/<b>{i}'.bmp", colour, f"{part}{k}{i}")
    quiet = dict(check=True, stdout=subprocess.DEVNULL)
    subprocess.run([fovea, "train", f"{work}/data", "--model", "small_cnn", "--epochs", "2", "--out", f"{work}/run", "-q"], **quiet)
    subprocess.run([fovea, "report", f"{work}/run", "--bootstrap", "100", "--seconds", "0.1", "-q"], **quiet)
    confusion = json.loads(subprocess.run([fovea, "evaluate", f"{work}/run", f"{work}/data", "--json"], check=True, capture_output=True).stdout)["confusion"]

    browser = Browser(f"{work}/profile")
    try:
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable")
        browser.call("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
        address = f"file://{work}/run/report.html"
        browser.call("Page.navigate", url=address)
        browser.wait("Page.loadEventFired")

        # What it says.
        sections = browser.evaluate("[...document.querySelectorAll('main > section')].map(s => s.id)")
        for wanted in ("summary", "card", "data", "training", "confusion", "classes", "decisions", "calibration", "slices", "mistakes", "cost", "terms"):
            check(f"section {wanted}", wanted in sections)
        cells = browser.evaluate("[...document.querySelectorAll('#confusion .matrix tbody tr')].map(r => [...r.querySelectorAll('td')].slice(0, -1).map(c => +c.textContent))")
        check(f"confusion {cells} is evaluate's {confusion}", cells == confusion)
        check("names are text", browser.evaluate("document.querySelector('#confusion tbody th').textContent") in (hostile, "bee", "cat"))
        check("no markup from names", browser.evaluate("typeof pwned") == "undefined" and browser.evaluate("document.querySelectorAll('script, iframe, object, embed, form, main b > svg, .file b').length") == 0)
        check("pictures are shown", browser.evaluate("[...document.images].length > 3 && [...document.images].every(i => i.complete && i.naturalWidth > 50 && i.alt)"))
        check("plots have names", browser.evaluate("[...document.querySelectorAll('svg.plot')].length >= 5 && [...document.querySelectorAll('svg.plot')].every(s => s.getAttribute('aria-label'))"))
        check("ids are unique", browser.evaluate("(ids => new Set(ids).size == ids.length)([...document.querySelectorAll('[id]')].map(e => e.id))"))
        check("links lead somewhere", browser.evaluate("[...document.querySelectorAll('a')].every(a => document.getElementById(a.getAttribute('href').slice(1)))"))
        check("one h1, and a language", browser.evaluate("document.querySelectorAll('h1').length == 1 && document.documentElement.lang == 'en'"))

        # The keyboard: a link past the navigation first, then the navigation, then what scrolls; each shows that it has the focus.
        stops = []
        for _ in range(40):
            for kind in ("keyDown", "keyUp"):
                browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            stop = browser.evaluate("(e => e == document.body ? '' : e.className == 'skip' ? 'skip' : e.closest('nav') ? 'nav' : e.className)(document.activeElement)")
            if stop and "none" in browser.evaluate("getComputedStyle(document.activeElement).outlineStyle"):
                check(f"{stop} shows the focus", False)
            stops.append(stop)
        check(f"keyboard reaches the skip link first: {stops[:3]}", stops[0] == "skip")
        check("keyboard reaches the navigation", "nav" in stops)
        check("keyboard reaches the tables", "scroll" in stops)

        # A telephone: nothing but tables scrolls sideways.
        browser.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
        check("fits 360 pixels", browser.evaluate("document.documentElement.scrollWidth") <= 360)

        # Light and dark: text has a contrast of at least 4.5 in both.
        contrast = """(() => { const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
          return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
          const back = lum(getComputedStyle(document.body).backgroundColor);
          const worst = [...document.querySelectorAll('p, li, dd, dt, caption, th, h1, h2, h3, a')].map(e => { const t = lum(getComputedStyle(e).color);
            return (Math.max(t, back) + .05) / (Math.min(t, back) + .05); });
          return [back, Math.min(...worst)]; })()"""
        backs = []
        for scheme in ("light", "dark"):
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            back, worst = browser.evaluate(contrast)
            backs.append(back)
            check(f"contrast {worst:.2f} in {scheme}", worst >= 4.5)
        check(f"light and dark: {backs}", backs[0] > 0.8 and backs[1] < 0.1)

        # Nothing went wrong, and nothing was asked of anyone.
        for event in browser.events:
            method, params = event.get("method"), event.get("params", {})
            if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                check(f"console: {json.dumps(params)[:300]}", False)
            if method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                check(f"request: {url[:100]}", url == address or url.startswith("data:"))
    finally:
        browser.close()

if failures:
    sys.exit(f"{len(failures)} checks failed")
print("the report loads by itself and holds what it promises")
