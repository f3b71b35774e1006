"""Pictures of the inspector's page for the documentation, light and dark: `python docs/screens.py` writes `docs/screen-*.png`.

Needs Chromium and the extra `test`; is run by hand when the page has changed.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

import backlit as bl
from backlit import nn

HERE = Path(__file__).parent
SIZE = {"width": 1280, "height": 760}


class Block(nn.Module):
    """A residual block."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(n, n), nn.Linear(n, n)

    def forward(self, x: bl.Tensor) -> bl.Tensor:
        """The input and what the branch adds."""
        return x + self.outer(bl.tanh(self.inner(x)))


def residual(checkpointed: bool = False) -> bl.Recording:
    """One backward pass of a residual net."""
    bl.random.seed(0)
    first, blocks, last = nn.Linear(12, 16), [Block(16) for _ in range(3)], nn.Linear(16, 4)
    model = nn.Sequential(first, *blocks, last)
    x, labels = bl.tensor(np.random.default_rng(0).standard_normal((24, 12)).astype("f4")), np.arange(24) % 4
    with bl.record() as recording:
        if checkpointed:
            h = first(x)
            for block in blocks:
                h = bl.checkpoint(block)(h)
            out = last(h)
        else:
            out = model(x)
        nn.functional.cross_entropy(out, labels).backward()
    return recording


def vanishing() -> bl.Recording:
    """A deep chain of sigmoids, in which the gradient vanishes."""
    bl.random.seed(0)
    model = nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(8, 8), nn.Sigmoid())], nn.Linear(8, 3))
    x = bl.tensor(np.random.default_rng(0).standard_normal((16, 8)).astype("f4"))
    with bl.record() as recording:
        nn.functional.cross_entropy(model(x), np.arange(16) % 3).backward()
    return recording


VIEWS = {  # name: (recording, view, theme)
    "node-light": (residual, "#n=1/add%230&p=node", "light"),
    "node-dark": (residual, "#n=1/add%230&p=node", "dark"),
    "provenance-light": (residual, "#p=provenance", "light"),
    "provenance-dark": (residual, "#p=provenance", "dark"),
    "flow-light": (vanishing, "#p=flow", "light"),
    "flow-dark": (vanishing, "#p=flow", "dark"),
    "memory-light": (lambda: residual(checkpointed=True), "#p=memory", "light"),
    "memory-dark": (lambda: residual(checkpointed=True), "#p=memory", "dark"),
}


def smaller(png: bytes) -> bytes:
    """The picture with 256 colours, each pixel in the nearest of those that are most common: a third of the size."""
    parts, at = {}, 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        parts[kind] = parts.get(kind, b"") + png[at + 8 : at + 8 + length]
        at += 12 + length
    width, height, _, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    depth = {2: 3, 6: 4}[colour]
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, 1 + width * depth)
    pixels = np.zeros((height, width, depth), np.uint8)
    for k, line in enumerate(lines):
        row, above = line[1:].reshape(width, depth), pixels[k - 1] if k else np.zeros((width, depth), np.uint8)
        if line[0] == 0:
            pixels[k] = row
        elif line[0] == 1:
            pixels[k] = np.cumsum(row, axis=0, dtype=np.uint8)
        elif line[0] == 2:
            pixels[k] = row + above
        else:
            left = upper = [0] * depth
            for i, (x, up) in enumerate(zip(row.tolist(), above.tolist(), strict=True)):
                near = [_predicted(*three, line[0]) for three in zip(left, up, upper, strict=True)]
                left, upper = [(a + b) & 255 for a, b in zip(x, near, strict=True)], up
                pixels[k, i] = left
    flat = pixels[..., :3].reshape(-1, 3).astype(np.int32)
    colours, place, count = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    chosen = colours[np.argsort(-count)[:256]]
    nearest = np.argmin(((colours[:, None] - chosen[None]) ** 2).sum(-1), axis=1).astype(np.uint8)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), nearest[place.reshape(-1)].reshape(height, width)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    found = b"\x89PNG\r\n\x1a\n"
    data = zlib.compress(rows.tobytes(), 9)
    for kind, part in (
        (b"IHDR", header),
        (b"PLTE", chosen.astype(np.uint8).tobytes()),
        (b"IDAT", data),
        (b"IEND", b""),
    ):
        found += struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
    return found


def _predicted(left: int, up: int, corner: int, kind: int) -> int:
    """What a filtered byte of a PNG is the difference from: the mean of two neighbours (3), or Paeth's choice (4)."""
    if kind == 3:
        return (left + up) // 2
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def main() -> None:
    """Writes all of them."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (make, view, theme) in VIEWS.items():
            path = Path(folder, "page.html")
            make().save(path)
            tab = browser.new_page(viewport=SIZE, color_scheme=theme)
            tab.goto(path.as_uri() + view)
            tab.wait_for_selector("html[data-painted]")
            tab.wait_for_timeout(500)
            (HERE / f"screen-{name}.png").write_bytes(smaller(tab.screenshot()))
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
