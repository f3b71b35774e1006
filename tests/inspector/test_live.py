"""The live page: edits are computed by the engine, strangers are turned away."""

from __future__ import annotations

import http.client
import json

import numpy as np
import pytest

pytest.importorskip("uvicorn")
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import backlit
from backlit import nn
from backlit.functional import cross_entropy
from backlit.inspector.live import LiveServer
from backlit.inspector.session import Conversation, Session, latest, understood
from backlit.inspector.wire import unpack


@pytest.fixture
def served():
    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    x = backlit.tensor(np.random.default_rng(0).standard_normal((6, 4)).astype("f4"))
    labels = backlit.tensor(np.arange(6) % 3)

    def run():
        loss = cross_entropy(net(x), labels)
        loss.backward()
        return loss

    server = LiveServer(run)
    server.start()
    yield server, net, run
    server.stop()


def socket_of(server, **more):
    return connect(server.url.replace("http", "ws") + "socket", proxy=None, **more)


def loss_of(data):
    return float(unpack(data)[0]["step"]["loss"][0])


def test_an_edit_is_computed_by_the_engine_and_taken_back(served):
    server, net, run = served
    first = float(run().item())
    with socket_of(server, origin=f"http://127.0.0.1:{server.port}") as socket:
        socket.send(json.dumps({"name": "0/weight", "element": 7, "value": 2.5}))
        edited = loss_of(socket.recv(timeout=20))
        assert np.asarray(net[0].weight.detach()).reshape(-1)[7] == 2.5
        assert edited == float(run().item()) != first
        socket.send(json.dumps({"name": "x", "element": 0, "value": -3}))
        assert loss_of(_next_quick(socket)) == float(run().item())
        for _ in range(2):
            socket.send('{"undo": true}')
            last = loss_of(_next_quick(socket))
        assert last == first


def _next_quick(socket):
    """The answer to an edit, not the complete one that comes when nothing is edited for a while."""
    while True:
        data = socket.recv(timeout=20)
        if not unpack(data)[1]["complete"]:
            return data


def test_all_tables_follow_when_nothing_is_edited(served):
    server, *_ = served
    with socket_of(server, origin=f"http://127.0.0.1:{server.port}") as socket:
        socket.send(json.dumps({"name": "0/bias", "element": 0, "value": 1.0}))
        assert "lamp" not in unpack(socket.recv(timeout=20))[0]
        tables, info = unpack(socket.recv(timeout=20))
        assert info["complete"] and "lamp" in tables


@pytest.mark.parametrize("edit", [("absent", 0, 1.0), ("0/weight", 99, 1.0), ("0/weight", -1, 1.0), ("div#0", 0, 1.0)])
def test_what_cannot_be_edited_is_told(served, edit):
    server, net, _ = served
    before = [np.array(p.detach()) for p in net.parameters()]
    with socket_of(server, origin=f"http://127.0.0.1:{server.port}") as socket:
        socket.send(json.dumps(dict(zip(("name", "element", "value"), edit, strict=True))))
        assert edit[0] in json.loads(socket.recv(timeout=20))["error"]
    assert all(np.array_equal(a, p.detach()) for a, p in zip(before, net.parameters(), strict=True))


def test_an_edit_of_what_the_run_computes_itself_is_refused():
    net, rows = nn.Linear(3, 2), np.ones((4, 3), "f4")
    optimizer = backlit.optim.SGD(net.parameters(), lr=0.1)

    def run():
        for _ in range(2):  # what an optimizer moved is no edit that was lost
            optimizer.zero_grad()
            x = backlit.tensor(rows) * 2.0
            (net(x) ** 2).mean().backward()
            optimizer.step()

    session = Session(run)
    conversation = Conversation(session)

    def say(*messages):
        for message in messages:
            assert conversation.hear(json.dumps(message))
        return conversation.answer()

    first = loss_of(session.packed(False))
    lost, kept = ({"name": name, "element": 1, "value": 7.0} for name in ("x", "weight"))
    assert "run computes 'x' itself" in json.loads(say(lost))["error"]
    edited = loss_of(say(kept))
    assert edited != first
    assert "run computes 'x' itself" in json.loads(say(lost))["error"]
    assert loss_of(say({"undo": True})) == first, "the edit before the one that was refused is taken back"
    assert loss_of(say(lost, {"undo": True}, kept)) == edited


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"undo": 1}', '{"name": 1, "element": 0, "value": 1}', '{"name": "x", "element": true, "value": 1}',
     '{"name": "x", "element": 0, "value": NaN}', '{"name": "x", "element": 0, "value": "1"}', '{"ask": "x"}', '{"ask": 1, "element": 0}', '{"ask": "x", "element": 0.5}', "[" * 4000,
     '{"name": "x", "element": 0, "value": 1, "more": 1}'],
)  # fmt: skip
def test_messages_of_another_form_are_notunderstood(text):
    assert understood(text) is None


def test_only_the_last_edit_of_an_element_counts():
    assert latest([("x", 0, 1.0), ("x", 1, 2.0), ("x", 0, 3.0)]) == [("x", 1, 2.0), ("x", 0, 3.0)]


def get(server, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_strangers_are_turned_away(served):
    server, *_ = served
    path = "/" + server.url.split("/", 3)[3]
    status, text = get(server, path)
    assert status == 200 and f"connect-src ws://127.0.0.1:{server.port}" in text
    assert get(server, "/")[0] == 404 and get(server, "/guess/")[0] == 404
    assert get(server, path, Host="evil.example")[0] == 404, "another name for this machine"
    assert get(server, path, Origin="http://evil.example")[0] == 404
    for origin in (None, "http://evil.example", f"http://127.0.0.1:{server.port + 1}"):
        with pytest.raises(InvalidStatus), socket_of(server, origin=origin):
            pass
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{server.port}/guess/socket", proxy=None):
        pass
    assert server._socket.getsockname()[0] == "127.0.0.1"


def test_any_element_is_taken_apart_and_nudged_when_asked_for(served, browser):
    server, *_ = served
    tab = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    tab.goto(server.url + "#n=2/weight")
    tab.locator(".live-bar").get_by_text("live", exact=True).wait_for()
    tables = unpack(server.session.packed(True))[0]
    node = next(n for n in server.session.recording.nodes if n.name == "2/weight")
    nudged = [e for n, e in zip(tables["nudge"]["node"], tables["nudge"]["element"], strict=True) if n == node.index]
    apart = [
        e for n, a, e in zip(*(tables["cellview"][c] for c in ("node", "argnum", "element")), strict=True)
        if any((c.child.index, c.argnum) == (n, a) for c in node.contributions)
    ]  # fmt: skip
    element = next(e for e in range(15) if e not in nudged and e not in apart)
    tab.locator("[data-face^=gradient] td").nth(element).click()
    slope = float(np.asarray(node.cotangent).reshape(-1)[element])
    told = "([at, v]) => Number(document.querySelector(at)?.title) === v"
    tab.wait_for_function(told, arg=["[data-cell^='nudge:'][data-cell$=':delta']", slope], timeout=20_000)
    estimate = tab.locator("[data-cell^='nudge:'][data-cell$=':estimate']").first
    assert float(estimate.get_attribute("title")) == pytest.approx(slope, rel=1e-4)
    total = tab.locator(".apart .total .cell")
    assert float(total.get_attribute("title")) == slope
    parts = tab.locator(".apart .products [data-cell$=':product']").all()
    assert parts and sum(float(c.get_attribute("title")) for c in parts) == pytest.approx(slope)
    tab.context.close()


def test_a_number_edited_on_the_page_changes_it(served, browser):
    server, net, run = served
    from playwright.sync_api import expect

    tab = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    complaints = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(server.url + "#n=0/bias")
    bar = tab.locator(".live-bar")
    bar.get_by_text("live", exact=True).wait_for()
    shown = bar.locator(".live-loss")
    before = shown.inner_text()
    tab.locator(".live-value").fill("3.5")
    expect(shown).not_to_have_text(before, timeout=20_000)
    assert np.asarray(net[0].bias.detach())[0] == 3.5
    assert f"{float(run().item()):.4g}" in shown.inner_text()
    expect(tab.locator(".live-loss .cell.changed")).to_have_count(1)
    assert tab.locator("[data-face=value] .cell.changed").count() == 1  # the edited number, none of the others
    tab.get_by_role("button", name="show before").click()
    assert shown.inner_text() == before
    tab.get_by_role("button", name="back to now").click()
    tab.get_by_role("button", name="undo").click()
    expect(shown).to_have_text(before, timeout=20_000)
    server.stop()
    bar.get_by_text("connection lost").wait_for(timeout=2000)
    assert not complaints
    tab.context.close()
