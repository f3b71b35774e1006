"""The tours: every number is the closed form of the lesson, and a tour that says something wrong is refused."""

import json
import re

import numpy as np
import pytest

from backlit.core.errors import DataError
from backlit.inspector.tour import bundled, parse_tour, record_tour, tour_page, tour_tables

TOURS = {tour.name: tour for tour in bundled()}
A = np.array


def column(*numbers):
    return A(numbers, float)[:, None]


def merge():
    x, y = 4.0, 3.0
    v = y * (x + 1)
    return {"u": x * y, "v": v, "L": v**2}, {"v": 2 * v, "u": 2 * v, "y": 2 * v * (1 + x), "x": 2 * v * y}


def hidden_layer():
    W1, x, b1 = A([[0.5, -1], [1, 0.25], [-0.75, 0.5]]), column(1, 2), column(0.1, -0.2, 0)
    W2, b2, y = A([[1, -0.5, 0.25], [0.5, 1, -1]]), column(0, 0.5), column(1, -1)
    z1 = W1 @ x + b1
    a1 = np.tanh(z1)
    z2 = W2 @ a1 + b2
    delta2 = z2 - y
    delta1 = (W2.T @ delta2) * (1 - np.tanh(z1) ** 2)
    values = {"z1": z1, "a1": a1, "z2": z2, "L": 0.5 * np.sum(delta2**2)}
    return values, {
        "z2": delta2, "W2": delta2 @ a1.T, "b2": delta2, "a1": W2.T @ delta2, "z1": delta1, "W1": delta1 @ x.T,
        "b1": delta1, "x": W1.T @ delta1,
    }  # fmt: skip


def softmax():
    z, y = A([1, -2, 0.5]), A([0.0, 0, 1])
    p = np.exp(z) / np.exp(z).sum()
    return {"p": p, "L": -np.sum(y * np.log(p))}, {"z": p - y}


def practice_easy():
    x, y = 2.0, 1.0
    return {"a": x + y, "b": x * (x + y)}, {"x": 2 * x * (x + y) * (2 * x + y), "y": 2 * x**2 * (x + y)}


def practice_medium():
    W, x, b, g = A([[1, -2], [0.5, 1], [-1, 0.5]]), column(1, 2), column(0.5, -0.5, 1.5), column(2, -1, 3)
    z = W @ x + b
    delta = g * (z > 0)
    return {"z": z, "a": np.maximum(z, 0)}, {"z": delta, "W": delta @ x.T, "b": delta, "x": W.T @ delta}


def practice_hard():
    W, x, u = A([[0.5, -1], [1, 0.25]]), column(1, -0.5), column(2, -1)
    f = np.tanh(W @ x)
    jacobian = (1 - f**2) * W
    return {"f": f, "h": x + f}, {"h": u, "f": u, "x": u + jacobian.T @ u}


CLOSED = {f.__name__: f for f in (merge, hidden_layer, softmax, practice_easy, practice_medium, practice_hard)}


def test_the_six_tours_of_the_lesson_are_there():
    assert list(TOURS) == list(CLOSED)
    assert [t.kind for t in TOURS.values()] == ["example"] * 3 + ["practice"] * 3


@pytest.mark.parametrize("name", CLOSED)
def test_values_and_gradients_are_the_closed_forms(name):
    recording = record_tour(TOURS[name])
    values, gradients = CLOSED[name]()
    for node, value in values.items():
        np.testing.assert_allclose(recording[node].value, value, rtol=1e-13)
    for node, gradient in gradients.items():
        np.testing.assert_allclose(recording[node].cotangent, gradient, rtol=1e-13, atol=1e-15)
    asked = {step.question.of for step in TOURS[name].steps if step.question}
    assert asked and asked <= set(gradients)


@pytest.mark.parametrize("name", CLOSED)
def test_every_number_names_the_cell_it_stands_in(name):
    recording = record_tour(TOURS[name])
    tables, _ = tour_tables(TOURS[name], recording)
    (text,) = tables["tour"]["json"]
    data = json.loads(text)
    assert [len(data["steps"]), data["kind"]] == [len(TOURS[name].steps), TOURS[name].kind]
    written = text.replace('\\"', '"')
    numbers = re.findall(r'data-cell="(\w+):(\d+):(\w+)">([^<]*)<', written)
    for table, row, col, shown in numbers:
        assert shown == f"{tables[table][col][int(row)]:.6g}".replace("-", "\N{MINUS SIGN}")
    assert numbers or name in ("hidden_layer", "practice_medium", "practice_hard")
    for step in data["steps"]:
        assert 0 < step["time"] <= len(recording.events)
        if step["ask"]:
            assert sum(c["right"] for c in step["ask"]["choices"]) == 1
            assert all(c["why"] for c in step["ask"]["choices"])
    assert not re.search(r"\{(d_)?\w+(<\w+)?\}", re.sub(r'data-latex="[^"]*"', "", written)), (
        "a number was not filled in"
    )


def test_choices_are_not_always_right_at_the_same_place():
    places = set()
    for tour in TOURS.values():
        data = json.loads(tour_tables(tour, record_tour(tour))[0]["tour"]["json"][0])
        places |= {[c["right"] for c in s["ask"]["choices"]].index(True) for s in data["steps"] if s["ask"]}
    assert len(places) > 1


def test_a_tour_is_one_page_with_nothing_from_elsewhere():
    page = tour_page(TOURS["merge"])
    assert page.startswith("<!doctype html>") and "src=" not in page.split("<script>")[0]


GOOD = """---
title: A square
kind: example
expression: s = x + 1; L = s**2
values: x=2
---
Intro.

## At the square
look at: s, after gradient of s

$s$ is {s}.

? d_s: What arrives?
- [x] $2s$ :: 2*s :: Right.
- [ ] $s^2$ :: s**2 :: That is $L$.

It is {d_s}.
"""


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("---\ntitle", "title", "expected a head"),
        ("kind: example", "kind: lesson", "kind (example or practice)"),
        ("## At the square", "At the square", "at least one station"),
        ("look at: s, after gradient of s", "look at s", "begin with a line like"),
        ("after gradient of s", "after gradient of q", "no node 'q'"),
        ("after gradient of s", "after contribution 2 of s", "there is no contribution 2 of s"),
        ("look at: s,", "look at: t,", "no node 't'"),
        ("? d_s:", "? s:", "a question is"),
        ("- [ ] $s^2$ ::", "- [x] $s^2$ ::", "one of them marked with x"),
        (":: That is $L$.", "", "a question is"),
        (":: 2*s ::", ":: 3*s ::", "3*s is not the gradient"),
        (":: s**2 ::", ":: s + s ::", "is the gradient, though it is not marked"),
        (":: s**2 ::", ":: q**2 ::", "q has no value"),
        ("{d_s}", "{d_q}", "no node 'q'"),
        ("{d_s}", "{x<L}", "got no contribution from L"),
        ("x=2", "x=", "x"),
    ],
)
def test_what_a_tour_says_wrongly_is_refused(old, new, message):
    assert tour_page(parse_tour(GOOD, "square"))
    assert GOOD.count(old) >= 1
    with pytest.raises(DataError, match=re.escape(message)):
        tour_page(parse_tour(GOOD.replace(old, new), "square"))


# In a browser


def formulas(tab):
    """The LaTeX of every formula on the page."""
    return tab.evaluate(
        "[...document.querySelectorAll('annotation[encoding=\"application/x-tex\"]')].map(a => a.textContent)"
    )


def begun(opened, tmp_path, tour):
    path = tmp_path / f"{tour.name}.html"
    path.write_text(tour_page(tour), encoding="utf-8")
    tab = opened(path)
    if not tab.locator("[data-tour-step]").count():
        tab.get_by_role("tab", name="Tour").click()
        tab.get_by_role("button", name="Begin").click()
    tab.wait_for_selector("[data-tour-step='0']")
    return tab


@pytest.mark.parametrize("name", CLOSED)
def test_a_tour_is_gone_through_in_a_browser(opened, tmp_path, name):
    tour = TOURS[name]
    recording = record_tour(tour)
    tables, _ = tour_tables(tour, recording)
    data = json.loads(tables["tour"]["json"][0])
    tab = begun(opened, tmp_path, tour)
    shown = []
    for k, step in enumerate(data["steps"]):
        here = tab.locator(f"[data-tour-step='{k}']")
        here.wait_for()
        assert here.locator("h2").inner_text() == step["title"]
        tab.wait_for_function("t => document.querySelector('input[type=range]').value === t", arg=str(step["time"]))
        if step["ask"]:
            assert not here.locator("[data-revealed]").count(), (
                "the answer is not shown before the reader has predicted"
            )
            choices = step["ask"]["choices"]
            options = here.locator(".option")
            assert options.count() == len(choices)
            for i in sorted(range(len(choices)), key=lambda i: choices[i]["right"]):
                options.nth(i).click()
                mark = "right" if choices[i]["right"] else "wrong"
                assert mark in options.nth(i).get_attribute("class").split()
                assert bool(here.locator("[data-revealed]").count()) == choices[i]["right"]
        for number in here.locator("[data-cell]").all():
            table, row, col = number.get_attribute("data-cell").split(":")
            assert number.inner_text() == f"{tables[table][col][int(row)]:.6g}".replace("-", "\N{MINUS SIGN}")
        shown += formulas(tab)
        if k + 1 < len(data["steps"]):
            tab.get_by_role("button", name="Next").click()
    rules = [f for f in shown if r"\delta" in f or "htmlData" in f]
    assert rules, "the rules that ran stand in the panel"
    if name in ("hidden_layer", "practice_medium", "practice_hard"):
        assert any(r"\mathsf{T}" in f for f in rules), "a transpose"
    if name == "softmax":
        assert any("softmax" in f and "- " in f for f in rules), "p - y"
