"""Implicit differentiation: the derivative of a solution comes from the equation that it solves, not from the solver."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from backlit.autodiff.batch import BatchTrace, vmap
from backlit.autodiff.closed import Closed
from backlit.autodiff.linear import linearize
from backlit.autodiff.masks import pulled, pushed
from backlit.autodiff.reverse import vjp
from backlit.autodiff.tape import Program, Tape, plain
from backlit.autodiff.trace import zeros
from backlit.autodiff.walk import Joint
from backlit.core import tree
from backlit.core.dtypes import is_float
from backlit.core.errors import DTypeError, GradientError, ShapeError
from backlit.core.graph import Node
from backlit.core.op import Masked, Value, shown
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor, is_grad_enabled, no_grad
from backlit.ops.linear import broadcast_to

Solver = Callable[..., list[Tensor]]  # of the inputs, giving the leaves of the solution, then those of aux


def custom_root(
    f: Callable[[Any], Any], initial_guess: Any, solve: Callable[..., Any], tangent_solve: Callable[..., Any],
    has_aux: bool = False,
) -> Any:  # fmt: skip
    """A root of `f` by `solve(f, initial_guess)`, with the derivatives of the implicit function theorem.

    `f` maps a tree to one of the same structure and shapes. What it takes from around it (parameters) gets gradients;
    the guess gets none. With J the Jacobian of `f` at the root x, dx = -J^-1 df (Blondel et al. 2022, arXiv:2105.15183,
    equation 3): `tangent_solve(g, y)` solves `g(x) = y` for the linear `g`, written with backlit's functions, linear in
    `y`; reverse mode transposes it. For a scalar it is `lambda g, y: y / g(1.0)`. No step of `solve` is kept or
    differentiated; it may use Python's `while` (outside of vmap and compile) or `while_loop`. With `has_aux`, `solve`
    returns `(root, aux)` and so does `custom_root`; aux has no derivatives. Derivatives of every order, in both modes,
    under `vmap` and `compile`; each costs one solution with J. That the root is one is not verified.

    Raises:
      ShapeError: `f` or `solve` gives another structure or other shapes than the guess has.
      DTypeError: the guess has a leaf that is no float.
    """
    return _solved("custom_root", _Root(tangent_solve), f, initial_guess, solve, has_aux)


def custom_linear_solve(
    matvec: Callable[[Any], Any], b: Any, solve: Callable[..., Any],
    transpose_solve: Callable[..., Any] | None = None, symmetric: bool = False, has_aux: bool = False,
) -> Any:  # fmt: skip
    """The solution x of `matvec(x) = b` by `solve(matvec, b)`, with the derivatives of the solution.

    `matvec` is a linear function of a tree like `b`, to one like it; what it takes from around it gets gradients. With
    A its matrix, dx = A^-1 (db - dA x), and the cotangent of `b` is transpose(A)^-1 times that of x, solved by
    `transpose_solve(vecmat, cotangent)`, or by `solve` where the matrix is `symmetric`. No step of `solve` is kept or
    differentiated. With `has_aux`, both solvers return `(x, aux)`, and so does this; aux has no derivatives.
    Derivatives of every order, in both modes, under `vmap` and `compile`; each costs one solution. That `matvec` is
    linear is not verified.

    Raises:
      ShapeError: `matvec` or `solve` gives another structure or other shapes than `b` has.
      DTypeError: `b` has a leaf that is no float.
      GradientError: in reverse mode, there is no `transpose_solve` and the matrix is not said to be symmetric.
    """
    return _solved("custom_linear_solve", _Linear(transpose_solve, symmetric, has_aux), matvec, b, solve, has_aux)


def _solved(who: str, owner: _Implicit, f: Callable[[Any], Any], like: Any, solve: Any, has_aux: bool) -> Any:
    leaves, structure = tree.flatten(like)
    values = [as_tensor(x) for x in leaves]
    for x in values:
        if not is_float(x.dtype):
            raise DTypeError(f"{who}: expected floats, got {shown(x)}; use .astype('float32'){here()}")
    with Tape(who, computes=False) as tape:
        on_tape = [tape.input(x) for x in values]
        given, its_structure = tree.flatten(f(tree.unflatten(structure, on_tape)))
        outs = [as_tensor(x) for x in given]
        _check_like(who, "the function", values, structure, outs, its_structure)
        program, inputs = tape.program(outs)
    aux: list[Any] | None = [] if has_aux else None
    owner.close(program, structure, len(values), _solver(who, solve, program, structure, len(values), aux))
    found = owner(*inputs)
    x = tree.unflatten(structure, found[: owner.n])
    return x if aux is None else (x, tree.unflatten(aux[0], found[owner.n :]))


def _check_like(who: str, what: str, like: Sequence[Tensor], structure: Any, got: Sequence[Tensor], its: Any) -> None:
    if its != structure or [x.shape for x in got] != [x.shape for x in like]:
        expected, found = (", ".join(map(shown, xs)) or "nothing" for xs in (like, got))
        raise ShapeError(f"{who}: {what} must give a tree like its argument, {expected}, but gave {found}{here()}")


def _solver(
    who: str, solve: Callable[..., Any], program: Callable[..., list[Tensor]], structure: Any, n: int, aux: list[Any] | None
) -> Solver:  # fmt: skip
    """The user's `solve(f, y)` as a function of the inputs; the structure of aux goes into the list, None where there is none."""

    def solver(*inputs: Tensor) -> list[Tensor]:
        first, around = inputs[:n], inputs[n:]

        def f(x: Any) -> Any:
            leaves = [as_tensor(leaf) for leaf in tree.leaves(x)]
            return tree.unflatten(structure, program(*leaves, *around))

        found = solve(f, tree.unflatten(structure, list(first)))
        more: list[Any] = []
        if aux is not None:
            if not isinstance(found, tuple) or len(found) != 2:
                raise GradientError(f"{who}: has_aux=True expects a solve that returns (x, aux){here()}")
            found, rest = found
            more, aux[:] = tree.flatten(rest)[0], [tree.flatten(rest)[1]]
        leaves, its_structure = tree.flatten(found)
        outs = [as_tensor(leaf) for leaf in leaves]
        _check_like(who, "solve", first, structure, outs, its_structure)
        alike = [o if o.dtype == x.dtype else o.astype(x.dtype) for o, x in zip(outs, first, strict=True)]
        return [*alike, *(as_tensor(leaf) for leaf in more)]

    return solver


def _transposed(program: Callable[..., list[Tensor]], n: int) -> Callable[..., list[Tensor]]:
    """The transpose in the first `n` operands of a program that is linear in them."""

    def transposed(*inputs: Tensor) -> list[Tensor]:
        y, around = inputs[:n], inputs[n:]
        blank = [zeros(a.shape, a.dtype) for a in y]
        return list(vjp(lambda *x: program(*x, *around), *blank)[1](list(y)))

    return transposed


class _Implicit(Closed):
    """A closed function of tensors to the x at which `residual(x, inputs)` is zero, and perhaps more results (aux)."""

    kind = "implicit"

    def __init__(self) -> None:
        self.program: Callable[..., list[Tensor]] = Program([], 0, [])
        self.structure: Any = None
        self.n = 0  # leaves of x
        self.solver: Solver = self.program

    def close(self, program: Callable[..., list[Tensor]], structure: Any, n: int, solver: Solver) -> None:
        """Takes the function `program(*x, *around)`, whose first `n` operands are the leaves of x, and what solves."""
        self.program, self.structure, self.n, self.solver = program, structure, n, solver

    @abstractmethod
    def residual(self, x: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """What is zero at the solution."""

    @abstractmethod
    def solved(self, x: Sequence[Tensor], inputs: Sequence[Tensor], y: list[Tensor]) -> list[Tensor]:
        """J^-1 y, for the Jacobian J of the residual with respect to x."""

    @abstractmethod
    def solved_transposed(self, x: Sequence[Tensor], inputs: Sequence[Tensor], y: list[Tensor]) -> list[Tensor]:
        """transpose(J)^-1 y."""

    @abstractmethod
    def batched(self, in_axes: tuple[int | None, ...]) -> _Implicit:
        """The same for many examples."""

    def f(self, *inputs: Tensor) -> list[Tensor]:
        """The results without derivatives."""
        with no_grad():
            return [plain(x) for x in self.solver(*map(plain, inputs))]

    def values(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return self.f(*inputs)

    def joint(self, outs: list[Tensor], lowered: list[Tensor], arrays: bool) -> Joint:
        return _ImplicitJoint(self, lowered, outs[: self.n], arrays)

    def batch(self, trace: BatchTrace, lowered: list[Tensor], flags: list[bool]) -> list[Tensor]:
        first = [
            x if flag else broadcast_to(x, shape=(trace.size, *x.shape))
            for x, flag in zip(lowered[: self.n], flags, strict=False)
        ]
        in_axes = tuple([0] * self.n + [0 if flag else None for flag in flags[self.n :]])
        made = self.batched(in_axes)
        program, solver = vmap(self.program, in_axes=in_axes), vmap(self.solver, in_axes=in_axes)
        made.close(program, self.structure, self.n, solver)
        return made(*first, *lowered[self.n :])

    def push(
        self, lowered: list[Tensor], tangents: list[Masked | None]
    ) -> tuple[Sequence[Tensor], Sequence[Masked | None]]:
        outs = self(*lowered)
        x, none = outs[: self.n], [None] * len(outs)
        directions = pushed(lambda *inputs: self.residual(x, inputs), lowered, tangents, self.name)[1]
        if all(d is None for d in directions):
            return outs, none
        y = [zeros(a.shape, a.dtype) if d is None else -d[0] for a, d in zip(x, directions, strict=True)]
        return outs, [*((t, None) for t in self.solved(x, lowered, y)), *none[self.n :]]


class _ImplicitJoint(Joint):
    """One solution in a recorded graph."""

    def __init__(self, owner: _Implicit, lowered: list[Tensor], x: list[Tensor], arrays: bool) -> None:
        super().__init__()
        self.name = owner.name  # type: ignore[misc]
        self.owner, self.lowered, self.x, self.arrays = owner, lowered, x, arrays
        self.n_outs = len(x)

    def kept(self) -> list[Any]:
        return [*self.x, *self.lowered]

    def pull(self, cotangent: Any, out: Value, inputs: Sequence[Value], node: Node) -> tuple[Masked | None, ...]:
        x, owner = self.x, self.owner
        if self.arrays and is_grad_enabled():  # for a higher order the solution itself must depend on the inputs
            x = owner(*self.lowered)[: owner.n]
        given = [zeros(a.shape, a.dtype) if c is None else c[0] for a, c in zip(x, cotangent, strict=True)]
        found = owner.solved_transposed(x, self.lowered, given)
        wanted = [p is not None for p in node.parents]
        cotangents = [(-c, None) for c in found]
        return tuple(pulled(lambda *inputs: owner.residual(x, inputs), self.lowered, wanted, cotangents, owner.name))


class _Root(_Implicit):
    name = "custom_root"

    def __init__(self, tangent_solve: Callable[..., Any]) -> None:
        super().__init__()
        self.tangent_solve = tangent_solve

    def residual(self, x: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        return self.program(*x, *inputs[self.n :])

    def solved(self, x: Sequence[Tensor], inputs: Sequence[Tensor], y: list[Tensor]) -> list[Tensor]:
        return self.tangent(*x, *y, *inputs[self.n :])

    def solved_transposed(self, x: Sequence[Tensor], inputs: Sequence[Tensor], y: list[Tensor]) -> list[Tensor]:
        around = inputs[self.n :]
        blank = [zeros(a.shape, a.dtype) for a in y]
        return list(vjp(lambda *given: self.tangent(*x, *given, *around), *blank)[1](y))

    def tangent(self, *inputs: Tensor) -> list[Tensor]:
        """J^-1 y of (*x, *y, *around), by the user's `tangent_solve`."""
        n = self.n
        x, y, around = inputs[:n], inputs[n : 2 * n], inputs[2 * n :]
        f_jvp = linearize(lambda *leaves: self.program(*leaves, *around), *x)[1]

        def g(v: Any) -> Any:
            return tree.unflatten(self.structure, f_jvp(*(as_tensor(leaf) for leaf in tree.leaves(v))))

        found, its_structure = tree.flatten(self.tangent_solve(g, tree.unflatten(self.structure, list(y))))
        outs = [as_tensor(leaf) for leaf in found]
        _check_like(self.name, "tangent_solve", x, self.structure, outs, its_structure)
        return outs

    def batched(self, in_axes: tuple[int | None, ...]) -> _Implicit:
        return _BatchedRoot(self, in_axes)


class _BatchedRoot(_Root):
    """Roots of many examples: the user's `tangent_solve` is of one."""

    def __init__(self, one: _Root, in_axes: tuple[int | None, ...]) -> None:
        super().__init__(one.tangent_solve)
        self.one = vmap(one.tangent, in_axes=(*[0] * one.n, *in_axes))

    def tangent(self, *inputs: Tensor) -> list[Tensor]:
        return self.one(*inputs)  # type: ignore[no-any-return]


class _Linear(_Implicit):
    name = "custom_linear_solve"

    def __init__(self, transpose_solve: Callable[..., Any] | None, symmetric: bool, has_aux: bool) -> None:
        super().__init__()
        self.transpose_solve, self.symmetric, self.has_aux = transpose_solve, symmetric, has_aux
        self.transposed_solver: Solver | None = None

    def close(self, program: Callable[..., list[Tensor]], structure: Any, n: int, solver: Solver) -> None:
        super().close(program, structure, n, solver)
        if self.transpose_solve is not None:
            aux: list[Any] | None = [] if self.has_aux else None
            turned = _transposed(program, n)
            self.transposed_solver = _solver(self.name, self.transpose_solve, turned, structure, n, aux)

    def residual(self, x: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        product = self.program(*x, *inputs[self.n :])
        return [p - b for p, b in zip(product, inputs, strict=False)]

    def solved(self, x: Sequence[Tensor], inputs: Sequence[Tensor], y: list[Tensor]) -> list[Tensor]:
        return self(*y, *inputs[self.n :])[: self.n]

    def solved_transposed(self, x: Sequence[Tensor], inputs: Sequence[Tensor], y: list[Tensor]) -> list[Tensor]:
        if self.symmetric:
            return self.solved(x, inputs, y)
        if self.transposed_solver is None:
            raise GradientError(
                f"{self.name}: reverse mode needs a solver for the transposed matrix; give transpose_solve, or "
                f"symmetric=True{here()}"
            )
        turned = _Linear(None, False, self.has_aux)
        turned.close(_transposed(self.program, self.n), self.structure, self.n, self.transposed_solver)
        turned.transposed_solver = self.solver
        return turned(*y, *inputs[self.n :])[: self.n]

    def batched(self, in_axes: tuple[int | None, ...]) -> _Implicit:
        made = _Linear(None, self.symmetric, self.has_aux)
        if self.transposed_solver is not None:
            made.transposed_solver = vmap(self.transposed_solver, in_axes=in_axes)
        return made
