"""Optimizers."""

from backlit.optim.adam import Adam, AdamW
from backlit.optim.base import Optimizer
from backlit.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
