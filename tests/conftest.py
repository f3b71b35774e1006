"""Shared settings of the tests: modules that several folders use are found by name."""

import sys
from pathlib import Path

for folder in ("ops", "autodiff"):
    sys.path.insert(0, str(Path(__file__).parent / folder))
