"""Floor 3: activations and losses composed of ops."""

from backlit.functional.activation import gelu, log_softmax, relu, sigmoid, silu, softmax, softplus, tanh
from backlit.functional.linear import linear
from backlit.functional.loss import cross_entropy, mse_loss, nll_loss

__all__ = [
    "cross_entropy",
    "gelu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
