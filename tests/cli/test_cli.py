"""The command line as a process: what it prints, leaves behind and returns."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import backlit as bl
from backlit.inspector.wire import unpack
from backlit.io import load, load_metadata


def backlit(folder, *arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "backlit", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False, **more,
    )  # fmt: skip


def write(path, header, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def flowers(tmp_path):
    """Two classes that a line separates, with a category, a hole and a name."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        kind = ("red", "blue")[i % 2]
        size = rng.normal(3.0 if kind == "red" else -3.0, 0.5)
        rows.append([f"{size:.3f}" if i % 10 else "", ("wet", "dry")[i % 3 == 0], f"flower {i}", kind])
    return write(tmp_path / "flowers.csv", ["size", "soil", "name", "colour"], rows)


@pytest.fixture
def houses(tmp_path):
    rng = np.random.default_rng(1)
    area = rng.uniform(30, 200, 80)
    rows = [
        [f"{a:.1f}", int(r), f"{1000 * a + 5000 * r:.0f}"] for a, r in zip(area, rng.integers(1, 6, 80), strict=True)
    ]
    return write(tmp_path / "houses.csv", ["area", "rooms", "price"], rows)


def test_digits_reports_and_saves(tmp_path):
    done = backlit(tmp_path, "train", "digits", "--epochs", 3, "--hidden", "32")
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout and "confusion" in done.stdout and "0.weight" in done.stdout
    folder = tmp_path / "runs" / "digits"
    assert str(folder.relative_to(tmp_path) / "model.safetensors") in done.stdout
    assert load(folder / "model.safetensors")["0.weight"].shape == (32, 64)
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["run", "epoch", "epoch", "epoch", "evaluation"]
    assert set(lines[1]["gradient_norms"]) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert lines[3]["loss"] < lines[1]["loss"]
    assert load_metadata(folder / "model.safetensors")["settings"]["epochs"] == 3
    again = backlit(tmp_path, "train", "digits", "--epochs", 1, "--quiet")
    assert again.returncode == 0 and again.stdout == again.stderr == ""
    assert (tmp_path / "runs" / "digits-2" / "model.safetensors").exists()


def test_steps_are_compiled_unless_eager_is_asked_for(tmp_path):
    found = []
    for name, more in (("compiled", []), ("eager", ["--eager"])):
        done = backlit(tmp_path, "train", "digits", "--epochs", 3, "--hidden", 16, "--out", name, *more)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        assert lines[0]["compiled"] == (name == "compiled")
        said = "steps ran as 2 native programs of " if name == "compiled" else "steps ran as op by op (eager)"
        assert said in done.stdout and said in (tmp_path / name / "report.txt").read_text()
        found.append([line["loss"] for line in lines[1:4]])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_one_seed_gives_the_same_bits(tmp_path):
    for name in ("a", "b"):
        assert backlit(tmp_path, "train", "digits", "--epochs", 2, "--seed", 7, "--out", name).returncode == 0
    assert backlit(tmp_path, "train", "digits", "--epochs", 2, "--seed", 8, "--out", "c").returncode == 0
    a, b, c = (hashlib.sha256((tmp_path / n / "model.safetensors").read_bytes()).hexdigest() for n in "abc")
    assert a == b != c


def test_classification_and_its_predictions(tmp_path, flowers):
    done = backlit(tmp_path, "train", flowers, "--target", "colour", "--out", "m", "--epochs", 40)
    assert done.returncode == 0, done.stderr
    assert "classification" in done.stdout and "'name'" in done.stdout and "missing" in done.stdout
    assert load_metadata(tmp_path / "m" / "model.safetensors")["metrics"]["accuracy"] >= 0.9
    predicted = backlit(tmp_path, "predict", "m/model.safetensors", flowers, "--out", "p.csv")
    assert predicted.returncode == 0, predicted.stderr
    rows = read(tmp_path / "p.csv")
    truth = [row["colour"] for row in read(flowers)]
    assert np.mean([r["colour"] == t for r, t in zip(rows, truth, strict=True)]) >= 0.9
    for row in rows:
        assert float(row["p(red)"]) + float(row["p(blue)"]) == pytest.approx(1.0, abs=2e-6)
        assert (float(row["p(red)"]) > 0.5) == (row["colour"] == "red")


def test_regression_and_its_predictions(tmp_path, houses):
    done = backlit(tmp_path, "train", houses, "--target", "price", "--out", "m")
    assert done.returncode == 0, done.stderr
    assert "regression" in done.stdout
    assert load_metadata(tmp_path / "m" / "model.safetensors")["metrics"]["R2"] >= 0.95
    predicted = backlit(tmp_path, "predict", "m/model.safetensors", houses)
    rows = list(csv.DictReader(predicted.stdout.splitlines()))
    truth = np.array([float(row["price"]) for row in read(houses)])
    off = np.array([float(row["price"]) for row in rows]) - truth
    assert np.sqrt(np.mean(off**2)) < 0.2 * truth.std()


def test_task_can_be_overridden(tmp_path, houses):
    done = backlit(tmp_path, "train", houses, "--target", "rooms", "--task", "regression", "--epochs", 2, "--out", "m")
    assert done.returncode == 0 and "RMSE" in done.stdout
    done = backlit(tmp_path, "train", houses, "--target", "rooms", "--epochs", 2, "--out", "n")
    assert done.returncode == 0 and "accuracy" in done.stdout


def test_digits_predict_from_pixels(tmp_path):
    assert backlit(tmp_path, "train", "digits", "--epochs", 8, "--out", "m").returncode == 0
    zero = "0,0,5,13,9,1,0,0,0,0,13,15,10,15,5,0,0,3,15,2,0,11,8,0,0,4,12,0,0,8,8,0,0,5,8,0,0,9,8,0,0,4,11,0,1,12,7,0,0,2,14,5,10,12,0,0,0,0,6,13,10,0,0,0"  # fmt: skip
    (tmp_path / "new.csv").write_text(f"{zero}\n{zero},0\n")
    done = backlit(tmp_path, "predict", "m/model.safetensors", "new.csv")
    assert done.returncode == 0, done.stderr
    assert [row["digit"] for row in csv.DictReader(done.stdout.splitlines())] == ["0", "0"]


BAD = {
    "missing file": (["train", "nowhere.csv", "--target", "y"], "nowhere.csv"),
    "empty file": (["train", "empty.csv", "--target", "y"], "empty.csv"),
    "header only": (["train", "header.csv", "--target", "y"], "header.csv"),
    "ragged rows": (["train", "ragged.csv", "--target", "y"], "3"),
    "unknown column": (["train", "good.csv", "--target", "z"], "'z'"),
    "no target": (["train", "good.csv"], "--target"),
    "all-missing column": (["train", "hollow.csv", "--target", "y"], "'x'"),
    "one class only": (["train", "one.csv", "--target", "y"], "'y'"),
    "regression target of texts": (["train", "texts.csv", "--target", "y", "--task", "regression"], "'y'"),
    "not enough rows": (["train", "few.csv", "--target", "y"], "10"),
    "unknown task": (["train", "good.csv", "--target", "y", "--task", "magic"], "magic"),
    "no epochs": (["train", "digits", "--epochs", "0"], "--epochs"),
    "too much momentum": (["train", "digits", "--momentum", "1.5"], "at least 0 and below 1, got 1.5"),
    "lr not a number": (["train", "digits", "--lr", "nan"], "--lr"),
    "lr zero": (["train", "digits", "--lr", "0"], "--lr"),
    "words for a number": (["train", "digits", "--epochs", "many"], "--epochs"),
    "unknown option": (["train", "digits", "--nonsense"], "--nonsense"),
    "unknown command": (["fly"], "fly"),
    "unknown optimizer": (["train", "digits", "--optimizer", "magic"], "magic"),
    "unknown activation": (["train", "digits", "--activation", "magic"], "magic"),
    "hidden of no width": (["train", "digits", "--hidden", "8,0"], "8, 0"),
    "hidden of words": (["train", "digits", "--hidden", "wide"], "wide"),
    "target for digits": (["train", "digits", "--target", "y"], "--target"),
    "output exists": (["train", "digits", "--out", "."], "exists"),
    "output holds other things": (["train", "digits", "--out", ".", "--force"], "other things"),
    "output below a file": (["train", "digits", "--out", "good.csv/m"], "good.csv"),
    "nothing to resume": (["train", "digits", "--resume"], "no run into runs/digits that was stopped"),
    "no model": (["predict", "nowhere.safetensors", "good.csv"], "nowhere.safetensors"),
    "table for a model": (["predict", "good.csv", "good.csv"], "good.csv"),
    "bytes that are no text": (["train", "binary.csv", "--target", "y"], "binary.csv"),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    many = [[i, i % 2] for i in range(20)]
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("x,y\n")
    (folder / "ragged.csv").write_text("x,y\n1,2\n1,2,3\n")
    (folder / "binary.csv").write_bytes(b"x,y\n\xff\xfe\x00,1\n")
    write(folder / "good.csv", ["x", "y"], many)
    write(folder / "hollow.csv", ["x", "w", "y"], [["", *row] for row in many])
    write(folder / "one.csv", ["x", "y"], [[i, "a"] for i in range(20)])
    write(folder / "texts.csv", ["x", "y"], [[i, "ab"[i % 2]] for i in range(20)])
    write(folder / "few.csv", ["x", "y"], many[:5])
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence(bad_files, case):
    before = sorted(p.name for p in bad_files.rglob("*"))
    arguments, named = BAD[case]
    done = backlit(bad_files, *arguments)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and named in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert sorted(p.name for p in bad_files.rglob("*")) == before


def test_without_polars_the_extra_is_named(bad_files):
    code = "import sys; sys.modules['polars'] = None; from backlit.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "good.csv", "--target", "y"],
        cwd=bad_files, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "backlit[table]" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_table_that_does_not_fit_the_model(tmp_path, flowers, houses):
    assert backlit(tmp_path, "train", flowers, "--target", "colour", "--out", "m", "--epochs", 2).returncode == 0
    done = backlit(tmp_path, "predict", "m/model.safetensors", houses, "--out", "p.csv")
    assert done.returncode == 2 and "'size'" in done.stderr and not (tmp_path / "p.csv").exists()
    assert len(done.stderr.strip().splitlines()) == 1
    model = tmp_path / "m" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-50])
    done = backlit(tmp_path, "predict", model, flowers)
    assert done.returncode == 2 and "damaged" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_loss_that_is_not_finite_names_step_and_parameter(tmp_path):
    done = backlit(tmp_path, "train", "digits", "--optimizer", "sgd", "--lr", "1e5", "--label-smoothing", "0")
    assert done.returncode == 1, done.stderr
    assert "step" in done.stderr and "weight" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_interrupt_keeps_the_last_whole_epoch(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "backlit", "train", "digits", "--epochs", "100000", "--out", "m"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    history = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (history is None or history.read_text().count("epoch") < 3):
        time.sleep(0.05)
        found = list(tmp_path.glob(".m.*/history.jsonl"))
        history = found[0] if found else None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "whole epochs" in errors and "Traceback" not in errors
    kept = load_metadata(tmp_path / "m" / "model.safetensors")
    lines = (tmp_path / "m" / "history.jsonl").read_text().splitlines()
    assert kept["epochs"] == sum('"event": "epoch"' in line for line in lines) >= 1
    assert [p.name for p in tmp_path.iterdir()] == ["m"] and "--resume goes on" in errors
    done = backlit(tmp_path, "train", "digits", "--epochs", "7", "--out", "m", "--resume")
    assert done.returncode == 2 and "the run was started with epochs 100000, now 7" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and [p.name for p in tmp_path.iterdir()] == ["m"]


def test_help_tells_the_commands(tmp_path):
    done = backlit(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("train", "predict", "explain"):
        assert command in done.stdout


def test_the_page_of_a_run_has_curves_steps_and_mistakes(tmp_path):
    done = backlit(tmp_path, "train", "digits", "--epochs", 3, "--hidden", 16, "--out", "m")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith("page     m/report.html")
    text = (tmp_path / "m" / "report.html").read_text(encoding="utf-8")
    packed = base64.b64decode(re.search(r'id="recording">([^<]*)<', text)[1])
    tables, info = unpack(packed)
    names = set(tables["series"]["name"])
    assert {"loss", "learning rate", "gradient norm of 0.weight"} <= names
    history = [json.loads(line) for line in (tmp_path / "m" / "history.jsonl").read_text().splitlines()]
    epochs = [
        v for n, v in zip(tables["series"]["name"], tables["series"]["value"].tolist(), strict=True) if "epoch" in n
    ]
    assert epochs == [line["loss"] for line in history[1:4]]
    numbers = tables["step"]["number"].tolist()
    assert numbers[0] == 0 and numbers[-1] == 3 * 23 - 1 and len(numbers) == 6
    assert set(tables["update"]["step"].tolist()) == set(range(6))
    assert tables["example"]["truth"] and all(
        t != p for t, p in zip(tables["example"]["truth"], tables["example"]["predicted"], strict=True)
    )
    assert "0, " in info["note"]


def test_inspect_writes_the_page_of_a_recording(tmp_path):
    x = bl.tensor(2.0, requires_grad=True)
    with bl.record() as recording:
        (x * x).backward()
    recording.save(tmp_path / "a.blt")
    done = backlit(tmp_path, "inspect", "a.blt", "--no-open")
    assert done.returncode == 0, done.stderr
    assert "a.html" in done.stdout and "<html" in (tmp_path / "a.html").read_text(encoding="utf-8")
    (tmp_path / "bad.blt").write_bytes(b"no")
    done = backlit(tmp_path, "inspect", "bad.blt", "--no-open")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "bad.blt" in done.stderr
