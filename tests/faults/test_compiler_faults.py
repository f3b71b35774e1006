"""The list of faults for the compiler fits its source; `make faults` plants them."""

from __future__ import annotations

import compiler_faults
import pytest

pytestmark = pytest.mark.slow  # what is rewritten need not be planted anew at once


@pytest.mark.parametrize("fault", compiler_faults.FAULTS, ids=lambda f: f.name)
def test_the_text_that_a_fault_replaces_is_there_once(fault):
    assert compiler_faults.text(fault).count(fault.old) == 1
    assert fault.new != fault.old
