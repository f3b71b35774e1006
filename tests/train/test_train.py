"""Metrics of whole arrays, networks and history."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from backlit import Generator, nn
from backlit.core.errors import ArgumentError, DataError
from backlit.train import History, build_mlp, metrics
from backlit.train.job import cosine


def test_confusion_and_what_follows_from_it():
    true, guess = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    assert metrics.confusion(true, guess, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert metrics.accuracy(true, guess) == 0.6
    # classes: 2*1/(2+2) = 1/2, 2*2/(2+3) = 4/5, 0
    assert metrics.macro_f1(true, guess, 3) == pytest.approx((0.5 + 0.8 + 0.0) / 3)
    assert metrics.macro_f1(true, guess, 4) == pytest.approx((0.5 + 0.8 + 0.0) / 3)
    assert math.isnan(metrics.accuracy(true[:0], guess[:0]))


def test_errors_of_quantities():
    true, guess = np.array([1.0, 2.0, 6.0]), np.array([1.0, 4.0, 5.0])
    assert metrics.rmse(true, guess) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.mae(true, guess) == pytest.approx(1.0)
    assert metrics.r2(true, guess) == pytest.approx(1 - 5 / 14)
    assert math.isnan(metrics.r2(np.ones(3), guess))


def test_cosine_starts_low_peaks_at_one_and_ends_at_zero():
    values = [cosine(p) for p in np.linspace(0, 1, 201)]
    assert max(values) == pytest.approx(1.0) and values[0] < 0.05 and values[-1] == pytest.approx(0.0, abs=1e-12)
    peak = int(np.argmax(values))
    assert all(np.diff(values[: peak + 1]) > 0) and all(np.diff(values[peak:]) < 0)


def test_build_mlp_shapes_and_errors():
    model = build_mlp(3, (5, 4), 2, "tanh", Generator(0))
    assert [p.shape for p in model.parameters()] == [(5, 3), (5,), (4, 5), (4,), (2, 4), (2,)]
    assert isinstance(model[1], nn.Tanh) and len(model) == 5
    with pytest.raises(ArgumentError, match="magic"):
        build_mlp(3, (5,), 2, "magic")
    with pytest.raises(ArgumentError, match="unit"):
        build_mlp(3, (0,), 2)


def test_history_is_on_the_disk_after_each_line(tmp_path):
    path = tmp_path / "h.jsonl"
    with History(path) as history:
        history.write("run", seed=1, hidden=(2, 3))
        assert json.loads(path.read_text()) == {"event": "run", "seed": 1, "hidden": [2, 3]}
        history.write("epoch", loss=float("nan"), norms={"a": float("inf"), "b": 1.5})
    assert json.loads(path.read_text().splitlines()[1]) == {
        "event": "epoch",
        "loss": None,
        "norms": {"a": None, "b": 1.5},
    }
    with pytest.raises(DataError, match="cannot write"):
        History(tmp_path / "no" / "h.jsonl")
