"""Nothing beyond an array is read or written; see `fence.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="pages are protected otherwise there")
@pytest.mark.parametrize("without", ["", "avx512f", "avx"])
def test_nothing_beyond_an_array_is_touched(without):
    command = [sys.executable, str(Path(__file__).with_name("fence.py")), without]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and "untouched" in run.stdout, (run.returncode, run.stderr[-2000:])
