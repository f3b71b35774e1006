"""Pictures of the inspector's page for the documentation, light and dark: `python docs/screens.py` writes `docs/screen-*.png`
and `docs/inspector.png`.

Needs Chromium and the extra `test`; is run by hand when the page has changed.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
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


def perceptron() -> bl.Recording:
    """One backward pass of the network that the page on the inspector records."""
    bl.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    x, labels = bl.random.normal((16, 4)), np.arange(16) % 3
    with bl.record() as recording:
        nn.functional.cross_entropy(model(x), labels).backward()
    return recording


def swept(path: Path) -> None:
    """A step of training, recorded for some learning rates."""
    bl.random.seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = bl.optim.Adam(model.parameters())
    x, labels = bl.random.normal((16, 6)), np.arange(16) % 3

    def run(lr: float = 0.01) -> None:
        optimizer.lr = lr
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()

    with bl.record() as recording:
        run()
    recording.save(path, sweep={"lr": [0.001, 0.01, 0.1, 1.0]}, run=run)


def vanishing() -> bl.Recording:
    """A deep chain of sigmoids, in which the gradient vanishes."""
    bl.random.seed(0)
    model = nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(8, 8), nn.Sigmoid())], nn.Linear(8, 3))
    x = bl.tensor(np.random.default_rng(0).standard_normal((16, 8)).astype("f4"))
    with bl.record() as recording:
        nn.functional.cross_entropy(model(x), np.arange(16) % 3).backward()
    return recording


FIRST = {"width": 1440, "height": 900}
VIEWS = {  # name: (how it is saved, view, what is opened by a double click)
    "node": (lambda path: residual().save(path), "#n=1/add%230&p=node", ""),
    "provenance": (lambda path: residual().save(path), "#p=provenance", "1 Block"),
    "flow": (lambda path: vanishing().save(path), "#p=flow", ""),
    "memory": (lambda path: residual(checkpointed=True).save(path), "#p=memory", ""),
    "sweep": (swept, "#p=training&v=lr%3D1", ""),
}


def smaller(png: bytes) -> bytes:
    """The picture with 256 colours, a third of the size: the most common ones as they are, and of the others those far from all."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(np.int32)
    colours, place, count = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    chosen = colours[np.argsort(-count)[:160]]
    apart = np.min(((colours[:, None] - chosen[None]) ** 2).sum(-1), axis=1)
    while len(chosen) < 256 and apart.any():
        far = colours[np.argmax(apart)]
        chosen = np.concatenate([chosen, far[None]])
        apart = np.minimum(apart, ((colours - far) ** 2).sum(-1))
    nearest = np.argmin(((colours[:, None] - chosen[None]) ** 2).sum(-1), axis=1).astype(np.uint8)
    picture, found = Image.fromarray(nearest[place.reshape(-1)].reshape(pixels.shape[:2])), io.BytesIO()
    picture.putpalette(chosen.astype(np.uint8).tobytes())
    picture.save(found, "PNG", optimize=True)
    return found.getvalue()


def main() -> None:
    """Writes all of them."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (save, view, opened) in VIEWS.items():
            path = Path(folder, f"{name}.html")
            save(path)
            for theme in ("light", "dark"):
                tab = browser.new_page(viewport=SIZE, color_scheme=theme)
                tab.goto(path.as_uri() + view)
                tab.wait_for_selector("html[data-painted]")
                if opened:
                    tab.locator(".sankey-label", has_text=opened).dblclick()
                    tab.mouse.move(0, 0)
                tab.wait_for_timeout(2000)
                (HERE / f"screen-{name}-{theme}.png").write_bytes(smaller(tab.screenshot()))
                tab.close()
        path = Path(folder, "backlit.html")
        perceptron().save(path)
        tab = browser.new_page(viewport=FIRST, color_scheme="light")
        tab.goto(path.as_uri() + "#n=0/linear/add%230")
        tab.wait_for_selector("html[data-painted]")
        tab.wait_for_timeout(500)
        (HERE / "inspector.png").write_bytes(smaller(tab.screenshot()))
        browser.close()


if __name__ == "__main__":
    main()
