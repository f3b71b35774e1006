"""The lists of faults for the compiler, the recorder and the layers fit their sources; `make faults` plants them."""

from __future__ import annotations

import compiler_faults
import pytest
import recorder_faults
import reference_faults

pytestmark = pytest.mark.slow  # what is rewritten need not be planted anew at once


@pytest.mark.parametrize("fault", compiler_faults.FAULTS, ids=lambda f: f.name)
def test_the_text_that_a_fault_replaces_is_there_once(fault):
    assert compiler_faults.text(fault).count(fault.old) == 1
    assert fault.new != fault.old


@pytest.mark.parametrize("fault", recorder_faults.FAULTS, ids=lambda f: f.name)
def test_the_text_that_a_fault_of_the_recorder_replaces_is_there_once(fault):
    assert compiler_faults.text(fault, recorder_faults.PART).count(fault.old) == 1
    assert fault.new != fault.old


@pytest.mark.parametrize("fault", reference_faults.FAULTS, ids=lambda f: f.name)
def test_the_text_that_a_fault_of_a_layer_replaces_is_there_once(fault):
    assert compiler_faults.text(fault, reference_faults.PART).count(fault.old) == 1
    assert fault.new != fault.old
