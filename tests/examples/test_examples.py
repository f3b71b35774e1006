"""Every example on a small slice: what it reaches there from a fixed seed, and its command line."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import backlit as bl

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))
common, gan, run_all = map(importlib.import_module, ("common", "gan", "run_all"))


def at_least(name, value):
    return lambda numbers: numbers[name] >= value


def at_most(name, value):
    return lambda numbers: numbers[name] <= value


def better(own, other, factor):
    """The first number is at most `factor` times the second, which is that of a simple guess."""
    return lambda numbers: numbers[own] <= factor * numbers[other]


# epochs, smaller sizes, and what is reached: far from what an untrained model gives
REACHED = {
    "char_gpt": (8, {"WIDTH": 48, "BLOCKS": 2, "RATE": 8e-3, "SAMPLE": 5}, at_most("validation loss", 1.5)),
    "char_lstm": (8, {"WIDTH": 96, "RATE": 1e-2, "SAMPLE": 5}, at_most("validation loss", 1.5)),
    "cifar_resnet": (4, {"BLOCKS": 1, "BATCH": 8}, at_least("test accuracy", 0.5)),
    "gan": (120, {"WIDTH": 64}, at_most("told apart by neighbours", 0.94)),
    "gaussian_process": (25, {}, better("test RMSE", "of a linear model", 0.7)),
    "logistic_regression": (60, {}, at_least("test accuracy", 0.94)),
    "matrix_factorisation": (12, {}, better("RMSE of hidden pixels", "by the mean of the pixel", 0.75)),
    "mnist_cnn": (2, {"BATCH": 64}, at_least("test accuracy", 0.95)),
    "mnist_mlp": (4, {}, at_least("test accuracy", 0.98)),
    "mpg": (60, {}, better("test RMSE", "of a linear model", 0.7)),
    "names": (4, {}, better("test loss", "of pairs of letters", 0.7)),
    "pendulum": (150, {}, at_most("off at most, in standard errors", 3.0)),
    "penguins": (20, {}, at_least("accuracy", 0.95)),
    "vae": (40, {"WIDTH": 64}, better("test nats an image", "of independent pixels", 0.97)),
}
READS_NO_FILE = {"gan", "logistic_regression", "matrix_factorisation", "pendulum"}


@pytest.mark.parametrize("name", REACHED)
def test_an_example_learns(name, folder, tmp_path, monkeypatch, capsys):
    epochs, sizes, reached = REACHED[name]
    module = importlib.import_module(name)
    for size, value in sizes.items():
        monkeypatch.setattr(module, size, value)
    arguments = ["--data", str(folder), "--epochs", str(epochs), "--json", str(tmp_path / "result.json")]
    assert module.main(arguments) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert reached(result["numbers"]), result["numbers"]
    assert result["programs"] > 0 and result["epochs"] == epochs
    told = capsys.readouterr().out
    assert all(f"{name} {common.shown(value)}" in told for name, value in result["numbers"].items())
    assert f"{result['programs']} native program" in told


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py") if "\n@command" in path.read_text()} == set(REACHED)


@pytest.mark.parametrize("name", sorted(set(REACHED) - READS_NO_FILE))
def test_a_missing_file_is_named_in_one_sentence(name, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("BACKLIT_DATA", raising=False)
    main = importlib.import_module(name).main
    for arguments in ([], ["--data", str(tmp_path)]):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert re.search(r"(mnist|text|tabular|cifar10)/\S+\.(gz|txt|csv|npz)", told) and "$BACKLIT_DATA" in told
        assert told.count("\n") == 1
    monkeypatch.setenv("BACKLIT_DATA", str(tmp_path))
    assert main([]) == 2 and str(tmp_path) in capsys.readouterr().err


def test_the_options_are_used(capsys):
    main, threads = importlib.import_module("logistic_regression").main, bl.get_num_threads()
    try:
        assert main(["--eager", "--epochs", "3", "--threads", "1"]) == 0
        assert bl.get_num_threads() == 1
    finally:
        bl.set_num_threads(threads)
    assert "3 epochs\nop by op" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--epochs", "0"], ["--threads", "x"], ["--unknown"]])
def test_wrong_options_are_told(wrong, capsys):
    assert importlib.import_module("pendulum").main(wrong) == 2
    told = capsys.readouterr().err
    assert wrong[0] in told and "Traceback" not in told


def test_the_measure_of_the_gan():
    rng = np.random.default_rng(0)
    real, alike = rng.standard_normal((2, 300, 6))
    own, nearest = gan.neighbours(real, alike)
    assert abs(own - 0.5) < 0.1
    assert nearest[0] == ((real - alike[0]) ** 2).sum(axis=1).argmin()
    assert gan.neighbours(real, np.repeat(alike[:1], 300, axis=0))[0] > 0.9
    assert gan.neighbours(real, alike + 5.0)[0] == 1.0


def test_the_tables_are_made_of_the_results():
    results = json.loads(run_all.RESULTS.read_text(encoding="utf-8"))
    assert set(results) <= set(REACHED) == set(run_all.ORDER)
    for page in run_all.PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == run_all.written(text, results), "run examples/run_all.py"
    told = run_all.table({"gan": {**results["mpg"], "numbers": {"found": 0.123456, "letters": 65}}})
    assert "found 0.1235, letters 65" in told
