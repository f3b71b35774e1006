"""The page on NumPy programs lists what is there and what is not."""

import re

import numpy
import pytest
import table


def test_the_tables_are_those_of_the_installed_numpy():
    page = table.PAGE.read_text(encoding="utf-8")
    version = re.search(r"\| NumPy (\d+\.\d+) \|", page)[1]
    if not numpy.__version__.startswith(f"{version}."):
        pytest.skip(f"the page is of NumPy {version}")
    assert table.written(page) == page, "run: python tests/numpy/table.py"
