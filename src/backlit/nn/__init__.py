"""Networks: modules, parameters, layers."""

from backlit.nn import functional
from backlit.nn.activation import GELU, ReLU, Sigmoid, Tanh
from backlit.nn.container import Sequential
from backlit.nn.linear import Linear
from backlit.nn.module import Module, Parameter

__all__ = [
    "GELU",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "functional",
]
