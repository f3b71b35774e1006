"""How quickly an edit on the live page is answered: an MLP 784-256-256-10 with batch 64, on this machine.

    python benchmarks/live.py

An edit of one weight is sent; the time until the answer has come (engine, tables, transport), and until Chromium shows it.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time

import numpy as np
from playwright.sync_api import sync_playwright
from websockets.sync.client import connect

import backlit
from backlit import nn
from backlit.functional import cross_entropy
from backlit.inspector.live import LiveServer

EDITS = 60

SHOWN = """async (value) => {
  const field = document.querySelector(".live-value"), loss = () => document.querySelector(".live-loss").textContent;
  const before = loss(), begun = performance.now();
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  while (loss() === before) await new Promise(requestAnimationFrame);
  await new Promise((done) => setTimeout(done)); // the frame in which it was seen has been painted
  return performance.now() - begun;
}"""


def told(what: str, times: list[float]) -> None:
    times = sorted(times)
    print(f"{what:24} p50 {statistics.median(times):7.1f} ms   p95 {times[int(0.95 * len(times))]:7.1f} ms")


def main() -> None:
    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    generator = np.random.default_rng(0)
    x = backlit.tensor(generator.standard_normal((64, 784)).astype("f4"))
    labels = backlit.tensor(generator.integers(0, 10, 64))
    server = LiveServer(lambda: cross_entropy(net(x), labels).backward())
    url = server.start()
    took = []
    with connect(url.replace("http", "ws") + "socket", proxy=None, origin=f"http://127.0.0.1:{server.port}") as socket:
        for k in range(EDITS):
            begun = time.perf_counter()
            socket.send(json.dumps({"name": "4/bias", "element": 0, "value": 0.1 * k}))
            socket.recv()
            took.append(1e3 * (time.perf_counter() - begun))
    told("answered", took[5:])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1680, "height": 1000}, bypass_csp=True)
        tab.goto(url + "#n=4/bias")
        tab.locator(".live-value").wait_for()
        tab.wait_for_timeout(1000)
        told("shown", [tab.evaluate(SHOWN, str(20.0 + k)) for k in range(EDITS)][5:])
        browser.close()
    server.stop()


if __name__ == "__main__":
    main()
