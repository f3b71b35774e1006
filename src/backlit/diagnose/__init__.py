"""Floor 9: what happened in a backward pass, and why; data only, shown by the command line and the inspector."""

from backlit.diagnose.explain import Contribution, Explanation, LocalRule, Step, explain
from backlit.diagnose.values import parse_values

__all__ = ["Contribution", "Explanation", "LocalRule", "Step", "explain", "parse_values"]
