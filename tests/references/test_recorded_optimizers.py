"""Fifty steps of every optimizer and schedule, and what goes with them, against what PyTorch gave when it was recorded.

Lion and LAMB are not in PyTorch: the recorder has them from the papers. PyTorch's Muon multiplies in bfloat16, which the
recorder switches off.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from recorded import DTYPES, Backlit, agree, difference, read, taken
from reference_optim import (
    AVERAGES,
    CLIPS,
    GAINS,
    INITIAL,
    OPTIMIZERS,
    SCHEDULED,
    SCHEDULES,
    averaged,
    clipped,
    descend,
    initial,
)
from reference_signatures import of_pytorch

import backlit as bl
from backlit import optim

OTHERS = "others"
RANDOM = {
    "uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_",
    "orthogonal_", "sparse_",
}  # fmt: skip


def compare(name, dtype, compiled=None):
    case = read("optimizers")[2][name]
    found = descend(Backlit, OPTIMIZERS[name], taken(case), np.dtype(dtype), compiled)
    if OPTIMIZERS[name].settings.get("dampening"):  # a compiled step has to know whether it is the first
        found = {k: v for k, v in found.items() if not k.endswith(".step")}
    agree(found, case[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, dtype):
    compare(name, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, case in OPTIMIZERS.items() if not case.closure])
def test_compiled_optimizers(name, dtype):
    compare(name, dtype, bl.compile)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCHEDULED)
def test_schedules(name, dtype):
    case = read("schedules")[2][name]
    found = descend(Backlit, SCHEDULED[name], taken(case), np.dtype(dtype))
    assert len(np.unique(case[dtype]["rates"][:, 0, 0])) > 1
    assert difference({"rates": found["rates"]}, {"rates": case[dtype]["rates"]})[0] < 1e-12
    agree(found, case[dtype], dtype)


@pytest.mark.parametrize("compiled", [None, bl.compile], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLIPS)
def test_clipped_gradients(name, dtype, compiled):
    case = read(OTHERS)[2][name]
    agree(clipped(Backlit, CLIPS[name], taken(case), np.dtype(dtype), compiled), case[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", AVERAGES)
def test_averaged_weights(name, dtype):
    case = read(OTHERS)[2][name]
    bl.set_default_dtype(dtype)
    try:
        found = averaged(Backlit, AVERAGES[name], taken(case), np.dtype(dtype))
    finally:
        bl.set_default_dtype("float32")
    agree(found, case[dtype], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", INITIAL)
def test_initial_values(name, dtype):
    case = read(OTHERS)[2][name]
    agree(initial(Backlit, (name, INITIAL[name]), taken(case), np.dtype(dtype)), case[dtype], dtype)


def test_gains():
    _, facts, _ = read(OTHERS)
    assert {" ".join(map(str, args)): bl.nn.init.calculate_gain(*args) for args in GAINS} == facts


def test_every_class_has_a_case_and_every_record_its_case():
    found = {n: getattr(optim, n) for n in optim.__all__}
    classes = {n for n, c in found.items() if inspect.isclass(c) and issubclass(c, optim.Optimizer)} - {"Optimizer"}
    assert classes == {case.name for case in OPTIMIZERS.values()}
    assert of_pytorch("lr_scheduler", optim.lr_scheduler.__all__) - {"LRScheduler"} | {"SWALR"} == {
        name.split()[0] for name in SCHEDULES
    }
    filled = {name for name, f in vars(bl.nn.init).items() if name.endswith("_") and name[0] != "_" and callable(f)}
    assert filled == {name.split()[0] for name in INITIAL} | RANDOM
    assert set(read("optimizers")[2]) == set(OPTIMIZERS)
    assert set(read("schedules")[2]) == set(SCHEDULED)
    assert set(read(OTHERS)[2]) == {*CLIPS, *AVERAGES, *INITIAL}
