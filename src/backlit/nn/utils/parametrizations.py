"""Weights as a length times a direction, and weights of spectral norm 1."""

from __future__ import annotations

from backlit.arrays.creation import zeros
from backlit.core.errors import ArgumentError
from backlit.core.tensor import Tensor, no_grad
from backlit.functional.distance import normalize
from backlit.nn import init
from backlit.nn.convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from backlit.nn.module import Module
from backlit.nn.utils.parametrize import register_parametrization
from backlit.ops.elementwise import sqrt
from backlit.ops.linear import normalize_axes, sum


class _WeightNorm(Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def _norm(self, x: Tensor) -> Tensor:
        if self.dim == -1:
            return sqrt(sum(x * x, axis=tuple(range(x.ndim))))
        (dim,) = normalize_axes("weight_norm", self.dim, x.ndim)
        return sqrt(sum(x * x, axis=tuple(a for a in range(x.ndim) if a != dim), keepdims=True))

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / self._norm(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self._norm(weight), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Makes a weight g v / |v|, of which g (`original0`) and v (`original1`) are trained (Salimans and Kingma, 2016).

    There is one norm for each place along `dim`, one for all where it is None.

    Raises:
      ArgumentError: `module` has no such parameter.
      ShapeError: the parameter has no axis `dim`.
    """
    return register_parametrization(module, name, _WeightNorm(-1 if dim is None else dim), unsafe=True)


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        super().__init__()
        (self.dim,) = normalize_axes("spectral_norm", dim, weight.ndim)
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        if weight.ndim > 1:
            with no_grad():
                matrix = self._matrix(weight)
                for which, n in (("_u", matrix.shape[0]), ("_v", matrix.shape[1])):
                    start = init.normal_(zeros((n,), dtype=weight.dtype))
                    self.register_buffer(which, normalize(start, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        order = (self.dim, *(a for a in range(weight.ndim) if a != self.dim))
        return weight.permute(order).reshape((weight.shape[self.dim], -1))

    def _iterate(self, matrix: Tensor, n: int) -> None:
        with no_grad():
            u, v = self._u, self._v
            for _ in range(n):
                u = normalize(matrix @ v, dim=0, eps=self.eps)
                v = normalize(u @ matrix, dim=0, eps=self.eps)
            self._u[...] = u
            self._v[...] = v

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        sigma = (self._u.detach() * (matrix @ self._v.detach())).sum()
        return weight / sigma

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divides a weight by its largest singular value, which power iteration estimates (Miyato et al., 2018).

    While training each use of the weight takes `n_power_iterations` steps of it, from the vectors of the last. `dim` is that of
    the outputs: 1 for transposed convolutions, else 0.

    Raises:
      ArgumentError: `module` has no such parameter, or there are no iterations.
      ShapeError: the parameter has no axis `dim`.
    """
    if n_power_iterations <= 0:
        raise ArgumentError(f"spectral_norm: n_power_iterations must be above 0, got {n_power_iterations}")
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor) or not weight.ndim:
        raise ArgumentError(f"spectral_norm: {type(module).__name__} has no weight {name!r}")
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
