"""The job of `backlit train`: killed and resumed it leaves the same files; its folder is there or not as a whole."""

from __future__ import annotations

import json

import pytest

from backlit.core.errors import DataError
from backlit.train import Callback, folder, job


class Killed(BaseException):
    """As if the process were gone."""


class KillAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step == self.step:
            raise Killed


def train(place, step=None, resume=False, **settings):
    settings = job.Settings(epochs=3, hidden=(8,), batch_size=512, **settings)
    with folder.output_folder(str(place), "digits", resume=resume) as (work, final):
        result = job.train(job.digits_problem(), settings, work, [KillAt(step)], eager=True, resume=resume)
    return result, final


def test_a_killed_run_goes_on_to_the_same_model(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "CHECKPOINT_S", 0.0)  # after each step
    whole, final = train(tmp_path / "whole")
    assert sorted(p.name for p in final.iterdir()) == ["history.jsonl", "model.safetensors"]
    place = tmp_path / "killed"
    for step, resume in ((2, False), (5, True), (9, True)):
        with pytest.raises(Killed):
            train(place, step, resume)
        assert [p.name for p in tmp_path.iterdir() if "killed" in p.name] == [".killed.unfinished"]
    with pytest.raises(DataError, match="go on with --resume, or start anew with --force"):
        train(place)
    with pytest.raises(DataError, match=r"the run was started with seed 0, now 1; lr 0\.01, now 0\.5"):
        train(place, resume=True, seed=1, lr=0.5)
    again, _ = train(place, resume=True)
    assert (place / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert again.metrics == whole.metrics and again.gradient_norms == whole.gradient_norms
    events = [json.loads(line)["event"] for line in (place / "history.jsonl").read_text().splitlines()]
    assert events == ["run", "epoch", "epoch", "epoch", "evaluation"]
    with pytest.raises(DataError, match="there is no run into .*killed that was stopped before its end"):
        train(place, resume=True)


def test_names_that_are_taken_and_runs_that_fail(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="nothing"), folder.output_folder(None, "a"):
        raise DataError("nothing")
    assert not list(tmp_path.iterdir())
    with folder.output_folder(None, "a") as (work, final), folder.output_folder(None, "a") as (other, second):
        assert final.name == "a" and second.name == "a-2" and work != other
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["a", "a-2"]
    (tmp_path / "runs" / "a-2" / job.CHECKPOINTS).mkdir()
    with pytest.raises(DataError, match="bad"), folder.output_folder(None, "a", resume=True) as (work, final):
        assert final.name == "a-2" and (work / job.CHECKPOINTS).is_dir()  # the last that was stopped
        raise DataError("bad")
    assert (tmp_path / "runs" / "a-2" / job.CHECKPOINTS).is_dir()
