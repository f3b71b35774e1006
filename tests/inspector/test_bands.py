"""The limits of health on the page: the file's, the reader's, and everything that is coloured by them."""

from __future__ import annotations

import numpy as np
from models import deep
from screen import cells as shown
from screen import mismatches

import backlit
from backlit import nn
from backlit.diagnose.bands import Bands
from backlit.diagnose.flow import flow
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import tables_of


def trained():
    """Two steps of a net whose layers, units and updates are of many sizes."""
    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    with backlit.no_grad():
        net[0].bias[:2] = -100.0
        net[2].weight *= 8.0
    optimizer = backlit.optim.SGD(net.parameters(), lr=0.1)
    x = backlit.tensor(np.random.default_rng(0).standard_normal((40, 6)).astype("f4"))
    with backlit.record() as recording:
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), np.arange(40) % 3).backward()
            optimizer.step()
    return recording


def open_limits(tab):
    for summary in tab.locator("details.limits > summary").all():
        summary.click()


def set_limit(tab, name, value):
    tab.locator(f"[data-limit={name}]").fill(str(value))


def layer_bands(tab):
    return [
        int(c.split("band-")[1][0]) for c in tab.locator(".flow-row").evaluate_all("rows => rows.map(r => r.className)")
    ]


def test_the_page_begins_with_the_bands_of_the_file(opened, tmp_path):
    recording = deep()
    for bands in (Bands(), Bands(amber=1, red=2), Bands(amber=100, red=200)):
        recording.save(tmp_path / "deep.html", bands=bands)
        tab = opened(tmp_path / "deep.html", "#p=flow")
        assert layer_bands(tab) == [layer.band for layer in flow(recording, bands=bands).layers]
    recording.save(tmp_path / "deep.blt")
    backlit.load_recording(tmp_path / "deep.blt").save(tmp_path / "again.html", bands=Bands(amber=1, red=2))
    tab = opened(tmp_path / "again.html", "#p=flow")
    assert layer_bands(tab) == [layer.band for layer in flow(recording, bands=Bands(amber=1, red=2)).layers]


def test_layers_follow_the_bands_of_the_reader(opened, tmp_path):
    recording = deep()
    recording.save(tmp_path / "deep.html")
    tables, _ = tables_of(recording, Limits(), sources=True)
    tab = opened(tmp_path / "deep.html", "#p=flow")
    open_limits(tab)
    set_limit(tab, "amber", 0.5)
    set_limit(tab, "red", 1.25)
    expected = [layer.band for layer in flow(recording, bands=Bands(amber=0.5, red=1.25)).layers]
    assert layer_bands(tab) == expected and {0, 1, 2} == set(expected)
    named = tab.locator(".culprits > li").first
    assert "badly vanishing" in named.inner_text() and "sizes of weights" in named.inner_text()
    assert not mismatches(tables, shown(tab))
    # kept in the address, by a reload too
    tab.wait_for_function("() => location.hash.includes('amber')")
    tab.reload()
    tab.wait_for_selector("html[data-painted]")
    assert layer_bands(tab) == expected
    open_limits(tab)
    assert "(changed)" in tab.locator("details.limits").first.inner_text()
    tab.get_by_role("button", name="reset").first.click()
    assert layer_bands(tab) == [layer.band for layer in flow(recording).layers]
    tab.wait_for_function("() => !location.hash.includes('amber')")
    # where no layer is out of band, that is said
    set_limit(tab, "red", 100)
    set_limit(tab, "amber", 90)
    assert "No layer is out of band" in tab.locator(".panel-body").inner_text()


def test_limits_that_make_no_band_are_not_taken(opened, tmp_path):
    deep().save(tmp_path / "deep.html")
    tab = opened(tmp_path / "deep.html", "#p=flow")
    open_limits(tab)
    before = layer_bands(tab)
    for wrong in ("-1", "7", ""):  # 7 is beyond red
        set_limit(tab, "amber", wrong)
        assert tab.locator("[data-limit=amber]").get_attribute("aria-invalid") == "true"
        assert layer_bands(tab) == before
    tab.locator("[data-limit=red]").focus()
    assert tab.locator("[data-limit=amber]").input_value() == "3"
    tab = opened(tmp_path / "deep.html", "#p=flow&b=amber:9,red:-2,no:1,x")
    assert layer_bands(tab) == before


def test_units_follow_the_bands(opened, tmp_path):
    recording = trained()
    recording.save(tmp_path / "trained.html")
    last = flow(recording)
    relu, tanh = last.activations
    assert relu.dead > 0 and 0.05 < tanh.saturated
    tab = opened(tmp_path / "trained.html", "#step=1&p=flow")
    section = tab.locator("section.part", has_text="Units that take no part")
    marked = section.locator("table.stats").first.locator("td.warn")
    open_limits(tab)
    for dead, saturated in ((0.0, 0.01), (0.5, 0.01), (0.0, 0.99), (0.5, 0.99)):
        set_limit(tab, "dead", dead)
        set_limit(tab, "saturated", saturated)
        out = [unit for unit in flow(recording, bands=Bands(dead=dead, saturated=saturated)).activations if unit.band]
        if out:
            assert marked.count() == len(out)
            assert set(section.locator("table.stats").first.locator("th button").all_inner_texts()) == {
                u.node.name for u in out
            }
        else:
            assert "No more units are dead or saturated" in section.inner_text()
    # the pills of a node are of the same opinion
    for saturated, said in ((0.01, True), (0.99, False)):
        tab = opened(
            tmp_path / "trained.html", f"#step=1&n={tanh.node.name.replace('#', '%23')}&b=saturated:{saturated}"
        )
        assert ("saturated" in tab.locator(".pills").inner_text()) == said


def test_updates_follow_the_bands(opened, tmp_path):
    recording = trained()
    recording.save(tmp_path / "trained.html")
    ratios = sorted(u.ratio for u in flow(recording).updates)
    tab = opened(tmp_path / "trained.html", "#step=1&p=training")
    open_limits(tab)
    table = tab.locator("section.part", has_text="What the update did")
    for least, most in ((1e-4, 1e-2), (ratios[2], ratios[-2]), (ratios[-1] * 20, ratios[-1] * 30), (0.0, 1e3)):
        set_limit(tab, "least_update", 0)
        set_limit(tab, "most_update", most)
        set_limit(tab, "least_update", least)
        bands = [u.band for u in flow(recording, bands=Bands(least_update=least, most_update=most)).updates]
        assert table.locator("td.warn").count() == bands.count(1)
        assert table.locator("td.bad").count() == bands.count(2)


def test_the_limits_are_reached_by_keyboard(opened, tmp_path):
    deep().save(tmp_path / "deep.html")
    tab = opened(tmp_path / "deep.html", "#p=flow")
    tab.locator("details.limits > summary").first.focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowUp")
    assert tab.locator("[data-limit=amber]").input_value() == "3.5"
