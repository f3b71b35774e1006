"""backlit: backpropagation you can see through."""

from backlit.core.rng import Generator
from backlit.core.tensor import Tensor, enable_grad, no_grad, tensor

__all__ = ["Generator", "Tensor", "enable_grad", "no_grad", "tensor"]
