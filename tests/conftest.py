"""Shared settings of the tests: modules that several folders use are found by name; the user's cache is left alone."""

import os
import signal
import sys
from pathlib import Path

import pytest

# NumPy's own threads wait for each other in busy loops: where the workers share the cores a convolution takes fifty times as long
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# a shell that starts a run in the background lets it ignore Ctrl-C, and whatever that starts
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import backlit

for folder in ("ops", "autodiff", "arrays", "numpy"):
    sys.path.insert(0, str(Path(__file__).parent / folder))


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Machine code compiled in tests goes to a folder of this run, in processes that they start as well."""
    before = {name: os.environ.pop(name, None) for name in ("BACKLIT_CACHE", "BACKLIT_CACHE_DIR", "BACKLIT_CACHE_MIB")}
    os.environ["BACKLIT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache") / "backlit")
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def same_random_numbers():
    """What a test draws from the default generator does not depend on the tests before it."""
    backlit.random.seed(0)
