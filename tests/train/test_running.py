"""Metrics over ragged batches against their formulas over all rows, op by op and compiled."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import backlit as bl
from backlit.core.errors import ArgumentError, DataError
from backlit.train import (
    R2,
    Accuracy,
    BinaryAccuracy,
    ConfusionMatrix,
    MacroF1,
    Mean,
    MeanAbsoluteError,
    MeanSquaredError,
    Perplexity,
    RootMeanSquaredError,
    TopKAccuracy,
    metrics,
)
from backlit.train.running import as_metrics, n_rows

CUTS = (0, 7, 8, 20, 20, 33)  # an empty batch among them


def fed(metric, output, target, compiled):
    update = bl.compile(metric.update) if compiled else metric.update
    for start, end in itertools.pairwise(CUTS):
        if not (compiled and start == end):  # one program less to be made
            update(output[start:end], target[start:end])
    return metric.compute()


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(0)
    output = rng.standard_normal((33, 5)).astype(np.float32)
    return output, rng.integers(0, 5, 33)


@pytest.mark.parametrize("compiled", [False, True])
def test_of_classes(logits, compiled):
    output, true = logits
    guess = output.argmax(1)
    assert fed(Accuracy(), output, true, compiled) == metrics.accuracy(true, guess)
    order = np.argsort(-output, axis=1)[:, :2]
    assert fed(TopKAccuracy(2), output, true, compiled) == (order == true[:, None]).any(1).mean()
    table = metrics.confusion(true, guess, 5)
    assert (fed(ConfusionMatrix(5), output, true, compiled) == table).all()
    assert fed(MacroF1(5), output, true, compiled) == metrics.macro_f1(true, guess, 5)
    wide = output.astype(np.float64)
    entropy = np.log(np.exp(wide).sum(1)) - wide[np.arange(33), true]
    assert fed(Perplexity(), output, true, compiled) == pytest.approx(np.exp(entropy.mean()), rel=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_of_tokens_some_of_which_do_not_count(compiled):
    rng = np.random.default_rng(1)
    output, true = rng.standard_normal((33, 4, 6)).astype(np.float32), rng.integers(0, 4, (33, 6))
    true[rng.random((33, 6)) < 0.3] = -100
    kept = true >= 0
    guess = output.argmax(1)
    assert fed(Accuracy(), output, true, compiled) == (guess == true)[kept].mean()
    assert fed(ConfusionMatrix(4), output, true, compiled).sum() == kept.sum()
    padded = np.where(kept, true, 0)  # a class stands for what does not count, and is guessed as often as others
    real = padded != 0
    assert fed(Accuracy(ignore_index=0), output, padded, compiled) == (guess == padded)[real].mean()
    assert fed(ConfusionMatrix(4, ignore_index=0), output, padded, compiled).sum() == real.sum()
    last = np.moveaxis(output, 1, -1)
    assert fed(Accuracy(axis=-1), last, true, compiled) == (guess == true)[kept].mean()
    order = np.argsort(-output, axis=1)[:, :3]
    assert fed(TopKAccuracy(3), output, true, compiled) == (order == true[:, None]).any(1)[kept].mean()
    assert fed(TopKAccuracy(3, axis=-1), last, true, compiled) == (order == true[:, None]).any(1)[kept].mean()
    assert fed(Perplexity(), output, true, compiled) >= 1.0


@pytest.mark.parametrize("compiled", [False, True])
def test_of_quantities(compiled):
    rng = np.random.default_rng(2)
    true = 1e6 + rng.standard_normal((33, 2))  # whose squares lose all digits of their spread in float32
    given = true + 0.3 * rng.standard_normal((33, 2))
    for metric, value in (
        (MeanAbsoluteError(), np.abs(given - true).mean()),
        (MeanSquaredError(), ((given - true) ** 2).mean()),
        (RootMeanSquaredError(), np.sqrt(((given - true) ** 2).mean())),
        (R2(), metrics.r2(true, given)),
        (Mean(lambda output, target: abs(output - target).mean()), np.abs(given - true).mean()),
        (Mean(lambda output, target: abs(output - target).mean(axis=1)), np.abs(given - true).mean()),
    ):
        assert fed(metric, given, true, compiled) == pytest.approx(value, rel=1e-9), type(metric)


@pytest.mark.parametrize("compiled", [False, True])
def test_of_two_classes(compiled):
    rng = np.random.default_rng(3)
    output, true = rng.standard_normal(33), rng.integers(0, 2, 33)
    assert fed(BinaryAccuracy(), output, true, compiled) == ((output > 0) == true).mean()
    assert fed(BinaryAccuracy(0.5), output, true.astype(float), compiled) == ((output > 0.5) == true).mean()


def test_probabilities_as_targets_and_ties_and_nan():
    output = np.array([[1.0, 2.0], [3.0, 3.0], [np.nan, np.nan]])
    metric = Accuracy()
    metric.update(output, np.array([[0.1, 0.9], [0.8, 0.2], [1.0, 0.0]]))
    assert metric.compute() == 1.0  # argmax takes the first of equal ones, NaN too
    top = TopKAccuracy(1)
    top.update(output, np.array([1, 0, 0]))
    assert top.compute() == pytest.approx(1 / 3)  # a tie is not among the largest one, NaN never


def test_nothing_gives_nan_and_reset_forgets():
    for metric in (Accuracy(), Mean(abs), R2(), MacroF1(3), Perplexity(), RootMeanSquaredError()):
        assert math.isnan(metric.compute()), type(metric)
    metric = Accuracy()
    metric.update(np.eye(3), np.array([0, 1, 2]))
    state = metric.state_dict()
    assert metric.compute() == 1.0
    metric.reset()
    assert math.isnan(metric.compute())
    metric.load_state_dict(state)
    assert metric.compute() == 1.0
    with pytest.raises(DataError, match="of another metric than R2"):
        R2().load_state_dict(state)


def test_what_does_not_fit_is_said():
    with pytest.raises(ArgumentError, match=r"expected class numbers \[3\].* got \[2\]"):
        Accuracy().update(np.eye(3), np.array([0, 1]))
    with pytest.raises(ArgumentError, match=r"expected a target \[3, 3\], got \[3\]"):
        MeanSquaredError().update(np.eye(3), np.ones(3))
    with pytest.raises(ArgumentError, match="k must be at least 1"):
        TopKAccuracy(0)


def test_names():
    def wrong(output, target):
        return 0.0

    found = as_metrics([TopKAccuracy(), MacroF1(2), R2(), wrong, RootMeanSquaredError()])
    assert list(found) == ["top_k_accuracy", "macro_f1", "r2", "wrong", "root_mean_squared_error"]
    assert (
        list(as_metrics({"a": wrong})) == ["a"]
        and list(as_metrics(Accuracy())) == ["accuracy"]
        and as_metrics(None) == {}
    )


def test_rows_of_batches():
    x = np.zeros((4, 2))
    assert [n_rows(b) for b in (x, (x, 1), {"a": x}, ({"a": (x,)}, x), np.float32(1), ())] == [4, 4, 4, 4, 1, 0]
