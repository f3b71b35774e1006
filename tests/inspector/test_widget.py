"""The live page in a notebook: its frame and messages in a browser, the widget in Python, and both in JupyterLab."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from importlib.util import find_spec

import numpy as np
import pytest

from backlit.core.errors import ArgumentError
from backlit.inspector.session import Session
from backlit.inspector.widget import MAX_VIEWS, Views
from backlit.inspector.wire import unpack

PROGRAM = """
import numpy as np
import backlit
from backlit import nn
from backlit.functional import cross_entropy

backlit.random.seed(0)
net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
x = backlit.tensor(np.random.default_rng(0).standard_normal((6, 4)).astype("f4"))
labels = backlit.tensor(np.arange(6) % 3)

def run():
    loss = cross_entropy(net(x), labels)
    loss.backward()
    return loss
"""

HOST = """async ([code, height]) => {
    const { default: widget } = await import("data:text/javascript;base64," + code);
    window.heard = new Set();
    const model = {
        get: () => height,
        send: (message) => window.toKernel(JSON.stringify(message)),
        on: (name, f) => window.heard.add(f),
        off: (name, f) => window.heard.delete(f),
    };
    window.fromKernel = (message, data) => {
        const bytes = data.map((text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
        const views = bytes.map((b) => { // as notebooks do, a part of what came over the wire
            const longer = new Uint8Array(b.length + 8);
            longer.set(b, 3);
            return new DataView(longer.buffer, 3, b.length);
        });
        for (const f of [...window.heard]) f(message, views);
    };
    window.close_view = widget.render({ model, el: document.body });
}"""


def program():
    names = {}
    exec(PROGRAM, names)  # noqa: S102 - what a cell would
    return names["net"], names["run"]


class Host:
    """A notebook, as far as the widget knows: messages travel between its JavaScript and the kernel's side in Python."""

    def __init__(self, tab, run, height=600):
        self.tab, self.outbox, self.deaf = tab, [], False
        self.views = Views(Session(run), lambda message, buffers=None: self.outbox.append((message, buffers or [])))
        tab.expose_function("toKernel", lambda text: None if self.deaf else self.views.hear(json.loads(text)))
        code = files("backlit.inspector").joinpath("_static", "widget.js").read_bytes()
        tab.evaluate(HOST, [base64.b64encode(code).decode(), height])

    def until(self, there, seconds=20):
        end = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < end, "it did not come"
            while self.outbox:
                message, buffers = self.outbox.pop(0)
                encoded = [base64.b64encode(b).decode() for b in buffers]
                self.tab.evaluate("([m, b]) => fromKernel(m, b)", [message, encoded])
            self.tab.wait_for_timeout(20)


@pytest.fixture
def tab(browser):
    context = browser.new_context(viewport={"width": 1300, "height": 800})
    tab, complaints = context.new_page(), []
    tab.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda r: None if r.url.startswith(("data:", "blob:", "about:")) else complaints.append(r.url))
    yield tab
    context.close()
    assert complaints == []


def test_numbers_are_edited_without_a_server(tab):
    net, run = program()
    host = Host(tab, run)
    frame = tab.frame_locator("iframe")
    bar = frame.locator(".live-bar")
    host.until(lambda: bar.get_by_text("live", exact=True).count() == 1)
    assert tab.locator("iframe").get_attribute("sandbox") == "allow-scripts"
    assert tab.locator("iframe").bounding_box()["height"] == 600
    frame.get_by_role("treeitem", name=re.compile("^bias")).first.click()
    frame.locator(".live-value").wait_for()
    loss = bar.locator(".live-loss .cell")
    before = loss.get_attribute("title")
    assert float(before) == float(run().item())
    frame.locator(".live-value").fill("3.5")
    host.until(lambda: loss.get_attribute("title") != before)
    assert np.asarray(net[0].bias.detach())[0] == 3.5
    assert float(loss.get_attribute("title")) == float(run().item())
    # what takes long follows when nothing is edited
    frame.get_by_role("tab", name="Provenance").click()
    host.until(lambda: frame.locator(".sankey").count() > 0)
    bar.get_by_role("button", name="undo").click()
    host.until(lambda: loss.get_attribute("title") == before)
    end = time.monotonic() + 1  # until all tables have come
    host.until(lambda: time.monotonic() > end)
    # a kernel that does not answer is told of, and so is that it answers again
    host.deaf = True
    bar.get_by_role("button", name="undo").click()
    host.until(lambda: bar.get_by_text("busy or gone").count() == 1)
    host.deaf = False
    bar.get_by_role("button", name="undo").click()
    host.until(lambda: bar.get_by_text("live", exact=True).count() == 1)
    tab.evaluate("close_view()")
    host.until(lambda: not host.views._views)
    assert tab.evaluate("heard.size") == 0


def test_an_error_of_the_run_is_told(tab):
    _, run = program()
    bad = []

    def fragile():
        if bad:
            raise ValueError("no such day")
        return run()

    host = Host(tab, fragile)
    bar = tab.frame_locator("iframe").locator(".live-bar")
    host.until(lambda: bar.get_by_text("live", exact=True).count() == 1)
    bad.append(True)
    bar.get_by_role("button", name="undo").click()
    host.until(lambda: bar.get_by_role("alert").count() == 1)
    assert "ValueError: no such day" in bar.get_by_role("alert").inner_text()


def in_its_own_thread(work):
    """Where no loop runs; that of the browser does in the main thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def collected():
    net, run = program()
    sent = []
    return net, run, Views(Session(run), lambda message, buffers=None: sent.append((message, buffers))), sent


def test_each_view_gets_its_own_answers_and_all_share_the_run():
    """Without a loop of a kernel everything is answered at once."""
    in_its_own_thread(assert_two_views_are_apart)


def assert_two_views_are_apart():
    net, run, views, sent = collected()
    for name in "ab":
        views.hear({"view": name, "open": True})
    assert [m for m, _ in sent] == [{"view": "a", "page": True}, {"view": "b", "page": True}]
    assert b'id="socket">parent<' in sent[0][1][0]
    sent.clear()
    views.hear({"view": "b", "text": json.dumps({"name": "0/weight", "element": 7, "value": 2.5})})
    (quick, (data,)), (rest, (whole,)) = sent
    assert quick == rest == {"view": "b"}
    assert np.asarray(net[0].weight.detach()).reshape(-1)[7] == 2.5
    assert float(unpack(data)[0]["step"]["loss"][0]) == float(run().item())
    assert unpack(whole)[1]["complete"] and not unpack(data)[1]["complete"]
    sent.clear()
    views.hear({"view": "a", "text": json.dumps({"name": "absent", "element": 0, "value": 1.0})})
    assert len(sent) == 1 and "absent" in json.loads(sent[0][0]["text"])["error"]


def test_edits_that_wait_are_made_by_one_run():
    """In a kernel messages that came while it was busy are heard before anything is computed."""
    net, run = program()
    runs, sent = [], []

    def counted():
        runs.append(1)
        return run()

    async def kernel():
        views = Views(Session(counted), lambda message, buffers=None: sent.append((message, buffers)))
        views.hear({"view": "a", "open": True})
        first = len(runs)
        for value in range(20):
            views.hear({"view": "a", "text": json.dumps({"name": "0/bias", "element": 1, "value": value})})
        for _ in range(400):
            if len(sent) == 3:
                break
            await asyncio.sleep(0.05)
        return len(runs) - first

    assert in_its_own_thread(lambda: asyncio.run(kernel())) == 1
    assert np.asarray(net[0].bias.detach())[1] == 19
    assert len(sent) == 3  # the page, the quick answer, all tables


@pytest.mark.parametrize(
    "message",
    [None, [], {}, {"view": 1, "open": True}, {"view": "a", "open": 1}, {"view": "a", "text": "{}"}, {"view": "none", "close": True},
     {"view": "b", "text": 3}, {"view": "b", "text": "[" * 5000}, {"view": "b", "text": '{"name": "0/bias"}'}],
)  # fmt: skip
def test_messages_of_another_form_are_passed_over(message):
    net, _, views, sent = collected()
    views.hear({"view": "b", "open": True})
    before = [np.array(p.detach()) for p in net.parameters()]
    sent.clear()
    views.hear(message)
    assert not [m for m in sent if "page" not in m[0]] or message == {"view": "a", "open": 1}
    assert all(np.array_equal(a, p.detach()) for a, p in zip(before, net.parameters(), strict=True))


def test_views_do_not_pile_up():
    _, _, views, _ = collected()
    for k in range(MAX_VIEWS + 3):
        views.hear({"view": str(k), "open": True})
    assert len(views._views) == MAX_VIEWS and "0" not in views._views
    views.hear({"view": str(MAX_VIEWS), "close": True})
    assert len(views._views) == MAX_VIEWS - 1


def test_the_widget_speaks_through_its_messages(monkeypatch):
    pytest.importorskip("anywidget", reason="NO ANYWIDGET HERE: the widget itself was not tried")
    from backlit.inspector.notebook import LiveWidget

    net, run = program()
    with pytest.raises(ArgumentError, match="height"):
        LiveWidget(run, height=0)
    with pytest.raises(ArgumentError, match="records nothing"):
        LiveWidget(lambda: None)
    sent = []
    monkeypatch.setattr(LiveWidget, "send", lambda self, message, buffers=None: sent.append((message, buffers)))
    widget = LiveWidget(run, height=300)
    widget._handle_custom_msg({"view": "a", "open": True}, [])
    edit = json.dumps({"name": "0/bias", "element": 0, "value": 2.0})
    in_its_own_thread(lambda: widget._handle_custom_msg({"view": "a", "text": edit}, []))
    assert np.asarray(net[0].bias.detach())[0] == 2.0
    assert float(unpack(sent[1][1][0])[0]["step"]["loss"][0]) == float(run().item())
    found = widget._repr_mimebundle_()
    bundle = found[0] if isinstance(found, tuple) else found
    assert "<iframe sandbox" in bundle["text/html"] and "height:300px" in bundle["text/html"]


@pytest.mark.slow
def test_in_jupyterlab(browser, tmp_path):
    """A notebook is run in JupyterLab, with a kernel of its own; an edit on the page is seen by the next cell."""
    if find_spec("jupyterlab") is None or find_spec("anywidget") is None:
        pytest.skip("NO JUPYTERLAB HERE: the widget was tried in a stand-in for a notebook only")
    import nbformat

    book = nbformat.v4.new_notebook()
    shown = "from backlit.inspector.notebook import LiveWidget\nLiveWidget(run, height=500)"
    after = 'print(f"bias {net[0].bias[0].item()!r} loss {run().item()!r}")'
    book.cells = [nbformat.v4.new_code_cell(text) for text in (PROGRAM + shown, after)]
    book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "live.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {
        name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "HOME")
    }
    source = str(files("backlit").joinpath(".."))
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=secret",
         f"--ServerApp.root_dir={tmp_path}", "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
        env={**os.environ, **places, "PYTHONPATH": source}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    try:
        address = f"http://127.0.0.1:{port}"
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/api?token=secret", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < end and server.poll() is None, "JupyterLab did not start"
                time.sleep(0.5)
        tab = context.new_page()
        tab.goto(f"{address}/lab/tree/live.ipynb?token=secret&reset")
        tab.get_by_text("| Idle").wait_for(timeout=90_000)  # the kernel is there
        tab.locator(".jp-Cell .cm-content").first.click()
        tab.keyboard.press("Shift+Enter")
        tab.keyboard.press("Shift+Enter")
        frame = tab.frame_locator(".jp-OutputArea iframe")
        bar = frame.locator(".live-bar")
        bar.get_by_text("live", exact=True).wait_for(timeout=60_000)
        outputs = tab.locator(".jp-OutputArea-output pre", has_text="bias")
        outputs.first.wait_for(timeout=30_000)
        first = outputs.first.inner_text()
        frame.get_by_role("treeitem", name=re.compile("^bias")).first.click()
        frame.locator(".live-value").fill("3.5")
        loss = bar.locator(".live-loss .cell")
        frame.locator("[data-face=value] .cell.changed").first.wait_for(timeout=30_000)
        edited = loss.get_attribute("title")
        tab.locator(".jp-Cell").nth(1).locator(".cm-content").click()
        tab.keyboard.press("Control+Enter")
        tab.locator(".jp-OutputArea-output pre", has_text="bias 3.5 ").wait_for(timeout=30_000)
        second = tab.locator(".jp-OutputArea-output pre", has_text="bias").first.inner_text()
        assert first != second and float(second.split()[-1]) == float(edited)
    finally:
        tab.screenshot(path=tmp_path / "lab.png")
        context.close()
        server.terminate()
        server.wait(timeout=20)
