"""Every layer against what PyTorch gave for it when it was recorded: outputs, gradients, state, names."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from recorded import DTYPES, Backlit, agree, read, taken
from reference_functions import MODULES
from reference_layers import FAMILIES, FILE_OF, HOLDERS, LAYERS, WITHOUT_A_CASE
from reference_run import build, run
from reference_signatures import of_pytorch

import backlit as bl
from backlit import nn


@contextlib.contextmanager
def default(dtype):
    bl.set_default_dtype(dtype)
    try:
        yield
    finally:
        bl.set_default_dtype("float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients(name, dtype):
    case = read(FILE_OF[name])[2][name]
    with default(dtype):
        found = run(Backlit, LAYERS[name], taken(case), np.dtype(dtype))
    agree(found, case[dtype], dtype)


@pytest.mark.parametrize("name", LAYERS)
def test_names_and_shapes_of_the_state(name):
    _, facts, cases = read(FILE_OF[name])
    module = build(Backlit, LAYERS[name], taken(cases[name]), np.dtype("float32"))
    assert [[k, list(v.shape), v.dtype.name] for k, v in module.state_dict().items()] == facts[name]["state"]
    assert [k for k, _ in module.named_parameters()] == facts[name]["parameters"]
    assert module.extra_repr() == facts[name]["repr"]


@pytest.mark.parametrize("name", HOLDERS)
def test_names_and_shapes_of_what_only_holds(name):
    facts = read("linear")[1][name]
    module = HOLDERS[name](nn, lambda *shape: nn.Parameter(bl.ones(shape)))
    assert [[k, list(v.shape), v.dtype.name] for k, v in module.state_dict().items()] == facts["state"]
    assert [k for k, _ in module.named_parameters()] == facts["parameters"]


def test_every_class_has_a_case_and_every_record_its_case():
    classes = {name for name in of_pytorch("nn", nn.__all__) if name[0].isupper()}
    assert classes == {case.name for case in LAYERS.values()} | set(MODULES.values()) | set(HOLDERS) | WITHOUT_A_CASE
    for family, cases in FAMILIES.items():
        assert set(read(family)[2]) == set(cases)
