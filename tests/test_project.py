"""The package as a whole: what importing it brings in, its version, its files."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import backlit

ROOT = Path(__file__).parent.parent


def test_importing_backlit_brings_in_no_heavy_library():
    heavy = ["typer", "rich", "polars", "llvmlite", "matplotlib", "scipy"]
    code = f"import sys, backlit; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_one_version():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == backlit.__version__


def test_typed_marker_and_data_are_packaged():
    assert files("backlit").joinpath("py.typed").is_file()
    assert files("backlit.data").joinpath("_files", "DIGITS.md").is_file()


def test_every_public_name_is_there():
    assert all(hasattr(backlit, name) for name in backlit.__all__)
    assert len(set(backlit.__all__)) == len(backlit.__all__)


def test_the_import_loads_no_test_or_build_tools_of_numpy():
    loaded = subprocess.run(
        [sys.executable, "-c", "import backlit, sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy.testing", "numpy.f2py", "scipy", "torch", "jax"} & set(loaded)
