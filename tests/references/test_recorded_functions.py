"""Functions of `nn.functional`, and the modules that are the same, against what PyTorch gave when it was recorded."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
from recorded import DTYPES, Backlit, agree, read, taken
from reference_functions import ACTIVATIONS, FILE_OF, FILES, FUNCTIONS, MODULES, WITHOUT_A_CASE
from reference_run import run
from reference_signatures import of_pytorch

from backlit import functional, nn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients(name, dtype):
    case = read(FILE_OF[name])[2][name]
    found, wanted = run(Backlit, FUNCTIONS[name], taken(case), np.dtype(dtype)), case[dtype]
    if name in ACTIVATIONS:
        close = 40 * np.finfo(dtype).eps
        for what, array in wanted.items():
            np.testing.assert_allclose(found[what], array, rtol=close, atol=close, err_msg=what)
    agree(found, wanted, dtype)


def is_of_the_module(case):
    if case.name not in MODULES:
        return False
    return set(case.options) <= set(inspect.signature(getattr(nn, MODULES[case.name])).parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, case in FUNCTIONS.items() if is_of_the_module(case)])
def test_as_modules(name, dtype):
    """The options are the constructor's; what the module gives is what the function gave."""
    case, function = read(FILE_OF[name])[2][name], FUNCTIONS[name]
    module = dataclasses.replace(function, name=MODULES[function.name], inputs=function.inputs)
    take = taken({**case, "given": as_argument(case["given"])})
    agree(run(Backlit, module, take, np.dtype(dtype)), case[dtype], dtype)


def as_argument(given):
    """Arrays among the options are given to the constructor."""
    return {name.replace("0.option.", "argument."): array for name, array in given.items()}


def test_every_loss_has_a_case_as_a_module_every_function_one_and_every_record_its_case():
    assert {case.name for case in FUNCTIONS.values() if is_of_the_module(case)} == set(MODULES)
    assert {case.name for case in FUNCTIONS.values()} | WITHOUT_A_CASE == of_pytorch(
        "functional", functional.__all__
    ) | {"cdist"}
    for file, cases in FILES.items():
        assert set(read(file)[2]) == set(cases)
