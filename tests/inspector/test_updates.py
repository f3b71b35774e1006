"""Updates on the page: what was foretold, what came, and what the optimizer keeps."""

from __future__ import annotations

import numpy as np
import pytest
from screen import cells, mismatches

import backlit
from backlit import nn, optim
from backlit.diagnose.effects import effect
from backlit.functional import cross_entropy
from backlit.inspector import updated as of_updates
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import Written, tables_of


def trained(steps=2):
    backlit.random.seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    x = backlit.tensor(np.random.default_rng(0).standard_normal((8, 4)).astype("f4"))
    with backlit.record() as recording:
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(model(x), backlit.tensor(np.arange(8) % 3)).backward()
            optimizer.step()
    return recording


def test_tables_have_the_losses_that_the_engine_computed():
    recording = trained()
    found = tables_of(recording, Limits(), sources=False)[0]
    assert found["effect"]["step"].tolist() == [0, 1] and found["effect"]["note"] == [None, None]
    for step in range(2):
        its = effect(recording, step)
        for column in ("before", "after", "actual", "predicted"):
            assert found["effect"][column][step] == getattr(its, column)
        rows = np.flatnonzero(found["update"]["step"] == step)
        assert found["update"]["actual"][rows].tolist() == list(its.each.values())
    names = [name for k, name in enumerate(found["optsetting"]["name"]) if found["optsetting"]["update"][k] == 0]
    assert names[:1] == ["lr"] and "betas[1]" in names
    assert set(found["optstate"]["name"]) == {"step", "exp_avg", "exp_avg_sq"}
    quick = Written(recording, sources=False, complete=False).tables(Limits())[0]
    assert np.isnan(quick["update"]["actual"]).all() and len(quick["effect"]["step"]) == 0


def test_of_large_steps_the_loss_is_not_computed_again(monkeypatch):
    recording = trained()
    ops = sum(n.kind == "op" for n in recording.nodes) // 2
    monkeypatch.setattr(of_updates, "APPLICATIONS", 2 * ops)
    found = tables_of(recording, Limits(), sources=False)[0]
    assert np.isnan(found["effect"]["actual"]).tolist() == [True, False]  # the last step comes first
    assert "large" in found["effect"]["note"][0] and np.isnan(found["update"]["actual"]).all()


def test_the_page_holds_what_came_against_what_was_foretold(opened, tmp_path):
    recording = trained()
    recording.save(tmp_path / "x.html")
    found = tables_of(recording, Limits(), sources=False)[0]
    tab = opened(tmp_path / "x.html", "#p=training")
    part = tab.locator(".part", has=tab.locator("h3", has_text="What the update did"))
    part.locator("summary").first.click()
    shown = [c for c in cells(tab) if c["cell"].split(":")[0] in ("update", "effect", "optstate", "optsetting")]
    assert {c["cell"].split(":")[0] for c in shown} == {"update", "effect", "optstate", "optsetting"}
    assert any(c["cell"].endswith(":actual") for c in shown) and mismatches(found, shown) == []
    assert part.locator("tfoot").inner_text().startswith("together")
    assert "exp_avg" in part.locator("figcaption").first.inner_text()


def test_the_page_says_why_it_does_not_know(opened, tmp_path):
    w = backlit.tensor(np.ones((2, 2)), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    with backlit.record() as recording:
        y = (w * w).sum()
        y.backward(retain_graph=True)
        y.backward()
        optimizer.step()
        (w * w).sum().backward()
    recording.save(tmp_path / "x.html")
    tab = opened(tmp_path / "x.html", "#p=training")
    assert "more than one backward pass" in tab.locator(".panel-body").inner_text()


# -- settings of a live page


@pytest.fixture
def session():
    from backlit.inspector.session import Conversation, Session

    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 3))
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    x = backlit.tensor(np.random.default_rng(0).standard_normal((8, 4)).astype("f4"))

    def run():
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(net(x), backlit.tensor(np.arange(8) % 3)).backward()
            optimizer.step()

    made = Session(run)
    return made, Conversation(made), net, optimizer, x


def losses(made):
    return [step.loss for step in made.recording.steps]


def said(conversation, text):
    from backlit.inspector.wire import unpack

    assert conversation.hear(text)
    return unpack(conversation.answer())[0]


def test_a_run_that_trains_begins_anew_each_time(session):
    made, _conversation, net, _, _ = session
    first, weights = losses(made), [u.after for u in made.recording.updates]
    made.run()
    assert losses(made) == first
    assert all(np.array_equal(a, u.after) for a, u in zip(weights, made.recording.updates, strict=True))
    net[0].weight._value = np.zeros_like(net[0].weight._value)  # somebody else writes: that stays
    made.run()
    assert not made.recording.updates[0].before.any()


def test_the_learning_rate_is_set_and_taken_back(session):
    made, conversation, _net, optimizer, _x = session
    first = losses(made)
    tables = said(conversation, '{"setting": "SGD.lr", "value": 0.5}')
    names = dict(zip(tables["setting"]["name"], tables["setting"]["value"], strict=True))
    assert names["SGD.lr"] == 0.5 and names["SGD.momentum"] == 0.9 and names["1.p"] == 0.2
    assert optimizer.lr == 0.5 and made.recording.updates[0].settings["lr"] == 0.5
    change = [made.recording.updates[0].after, made.recording.updates[0].before, made.recording.updates[0].gradient]
    np.testing.assert_allclose(change[0], change[1] - np.float32(0.5) * change[2], rtol=1e-6, atol=1e-7)
    assert losses(made)[0] == first[0] and losses(made)[1] != first[1]
    said(conversation, '{"undo": true}')
    assert losses(made) == first and optimizer.lr == 0.1


def test_settings_of_modules_change_the_run(session):
    made, conversation, net, *_ = session
    first = losses(made)
    said(conversation, '{"setting": "1.p", "value": 0.0}')
    assert net[1].p == 0.0 and losses(made)[0] != first[0]
    said(conversation, '{"name": "0/weight", "element": 0, "value": 3.0}')
    assert made.recording.updates[0].before.reshape(-1)[0] == 3.0 or any(
        u.before.reshape(-1)[0] == 3.0 for u in made.recording.updates
    )
    for _ in range(2):
        said(conversation, '{"undo": true}')
    assert losses(made) == first and net[1].p == 0.2


def test_a_setting_that_is_not_there_or_out_of_range_is_told(session):
    _made, conversation, _, optimizer, _ = session
    for text, word in (
        ('{"setting": "SGD.size", "value": 1}', "no setting"),
        ('{"setting": "SGD.lr", "value": -1}', "lr must be at least"),
    ):
        assert conversation.hear(text)
        assert word in conversation.answer()
    assert optimizer.lr == 0.1
    assert said(conversation, '{"undo": true}') is not None  # nothing to take back
    assert not conversation.hear('{"setting": "SGD.lr", "value": NaN}')
    assert not conversation.hear('{"setting": 1, "value": 1}')


def test_only_the_last_value_of_a_setting_counts(session):
    _made, conversation, _, optimizer, _ = session
    for value in (0.2, 0.3, 0.4):
        assert conversation.hear(f'{{"setting": "SGD.lr", "value": {value}}}')
    conversation.answer()
    assert optimizer.lr == 0.4
    said(conversation, '{"undo": true}')
    assert optimizer.lr == 0.1


def test_betas_groups_and_several_optimizers_have_names_of_their_own():
    from backlit.inspector.settings import settings

    a, b, c = (backlit.tensor(np.ones(2), requires_grad=True) for _ in range(3))
    adam = optim.Adam([{"params": [a]}, {"params": [b], "lr": 0.3}], lr=0.1)
    found = settings([adam, optim.SGD([c], lr=0.1), optim.SGD([c], lr=0.2)], [("norm", nn.BatchNorm1d(3))])
    assert found["Adam.groups[1].lr"].read() == 0.3 and found["SGD_1.lr"].read() == 0.2
    found["Adam.groups[0].betas[1]"].write(0.5)
    assert tuple(adam.param_groups[0]["betas"]) == (0.9, 0.5)
    assert found["norm.eps"].read() == 1e-5


def test_the_live_page_sets_the_rate_and_lights_what_changed(browser):
    pytest.importorskip("uvicorn")
    from backlit.inspector.live import LiveServer

    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    x = backlit.tensor(np.random.default_rng(0).standard_normal((6, 4)).astype("f4"))

    def run():
        optimizer.zero_grad()
        cross_entropy(net(x), backlit.tensor(np.arange(6) % 3)).backward()
        optimizer.step()

    server = LiveServer(run)
    try:
        context = browser.new_context(viewport={"width": 1680, "height": 1000})
        tab = context.new_page()
        tab.goto(server.start() + "#p=training")
        tab.wait_for_selector("html[data-painted]", timeout=30_000)
        change = tab.locator("[data-cell='update:0:change_norm']")
        before = float(change.get_attribute("title"))
        tab.get_by_label("setting", exact=True).select_option("SGD.lr")
        tab.get_by_label("new value of SGD.lr").fill("0.4")
        tab.locator("[data-cell='update:0:change_norm'].changed").wait_for(timeout=20_000)
        assert float(change.get_attribute("title")) == pytest.approx(4 * before, rel=1e-5)
        tab.wait_for_function(
            "() => Number.isFinite(Number(document.querySelector(\"[data-cell='effect:0:actual']\")?.title))",
            timeout=20_000,
        )
        assert (
            float(tab.locator("[data-cell='effect:0:actual']").get_attribute("title"))
            == effect(server.session.recording).actual
        )
        tab.get_by_role("button", name="show before").click()
        tab.wait_for_function(
            "b => Number(document.querySelector(\"[data-cell='update:0:change_norm']\").title) === b", arg=before
        )
        tab.get_by_role("button", name="back to now").click()
        tab.get_by_role("button", name="undo").click()
        tab.wait_for_function(
            "b => Number(document.querySelector(\"[data-cell='update:0:change_norm']\").title) === b", arg=before
        )
        context.close()
    finally:
        server.stop()
