"""Linear algebra against NumPy and PyTorch over generated matrices, where derivatives do not exist, and what is refused."""

from __future__ import annotations

import itertools
import math

import checks
import numpy as np
import pytest

import backlit as bl
from backlit import grad, jvp, linalg, vmap
from backlit.autodiff.check import directional
from backlit.core.errors import ArgumentError
from backlit.ops.linalg import determinant

ARRAY_API = (
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot", "trace", "vecdot",
    "vector_norm",
)  # fmt: skip
LEADS = [(), (3,), (2, 1), (0,)]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def matrix(*shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng([seed, *shape])
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def regular(*shape, dtype=np.float64, seed=0):
    """Well-conditioned, with singular values apart."""
    m, n = shape[-2:]
    return matrix(*shape, dtype=dtype, seed=seed) * 0.3 + np.eye(m, n).astype(dtype) * (1 + np.arange(n)).astype(dtype)


def definite(*shape, dtype=np.float64, seed=0):
    x = matrix(*shape, dtype=dtype, seed=seed) * 0.4
    return x @ np.conj(np.swapaxes(x, -1, -2)) + np.eye(shape[-1], dtype=dtype) * (1 + np.arange(shape[-1])).astype(
        dtype
    )


def hermitian(*shape, dtype=np.float64, seed=0):
    x = regular(*shape, dtype=dtype, seed=seed)
    return (x + np.conj(np.swapaxes(x, -1, -2))) / 2


def assert_close(got, want, dtype=np.float64, factor=1.0):
    """Equal to within `factor` times 2000 roundings of the largest element."""
    got, want = np.asarray(got.detach() if isinstance(got, bl.Tensor) else got), np.asarray(want)
    assert got.shape == want.shape, (got.shape, want.shape)
    scale = np.max(np.abs(want), initial=1.0)
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=2000 * factor * np.finfo(dtype).eps)


def test_every_name_of_the_array_api_is_there():
    assert [n for n in ARRAY_API if not callable(getattr(linalg, n, None))] == []
    assert all(getattr(linalg, n).__doc__ for n in linalg.__all__)


# Values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("lead", "n"), list(itertools.product(LEADS, [0, 1, 2, 5])))
def test_values_of_square_matrices_are_numpys(lead, n, dtype):
    x, h, p = (f(*lead, n, n, dtype=dtype) for f in (regular, hermitian, definite))
    for name, a in (("inv", x), ("det", x), ("eigvalsh", h), ("cholesky", p), ("svdvals", x)):
        got, want = getattr(linalg, name)(a), getattr(np.linalg, name)(a)
        assert got.dtype == want.dtype, name
        assert_close(got, want, dtype)
    for got, want in zip(linalg.slogdet(x), np.linalg.slogdet(x), strict=True):
        assert got.dtype == want.dtype
        assert_close(got, want, dtype)
    values, vectors = linalg.eigh(h)
    assert values.dtype == np.linalg.eigh(h)[0].dtype and vectors.dtype == dtype
    assert_close(values, np.linalg.eigh(h)[0], dtype)
    assert_close(vectors.numpy() * values.numpy()[..., None, :], h @ vectors.numpy(), dtype)
    assert_close(linalg.cholesky(p, upper=True), np.conj(np.swapaxes(np.linalg.cholesky(p), -1, -2)), dtype)
    for power in (-2, 0, 1, 3):
        got = linalg.matrix_power(x, power)
        assert got.dtype == dtype
        assert_close(got, np.linalg.matrix_power(x, power), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("lead", "shape"), list(itertools.product(LEADS, [(4, 2), (2, 4), (3, 3), (0, 2), (2, 0), (1, 3)]))
)
def test_values_of_any_matrices_are_numpys(lead, shape, dtype):
    x = regular(*lead, *shape, dtype=dtype)
    for mode in ("reduced", "complete"):
        q, r = linalg.qr(x, mode=mode)
        theirs = np.linalg.qr(x, mode=mode)
        assert q.dtype == r.dtype == dtype and q.shape == theirs.Q.shape
        assert_close(r, theirs.R, dtype)
        assert_close(q.numpy() @ r.numpy(), x, dtype)
        assert_close(
            np.conj(q.mT.numpy()) @ q.numpy(), np.broadcast_to(np.eye(q.shape[-1]), (*lead, *(q.shape[-1],) * 2)), dtype
        )
    for full in (True, False):
        u, s, vh = linalg.svd(x, full_matrices=full)
        theirs = np.linalg.svd(x, full_matrices=full)
        assert (u.shape, s.shape, vh.shape) == (theirs.U.shape, theirs.S.shape, theirs.Vh.shape)
        assert u.dtype == dtype and s.dtype == theirs.S.dtype
        k = s.shape[-1]
        assert_close(s, theirs.S, dtype)
        assert_close((u.numpy()[..., :k] * s.numpy()[..., None, :]) @ vh.numpy()[..., :k, :], x, dtype)
        for w in (u.numpy(), np.conj(vh.mT.numpy())):
            n = w.shape[-1]
            assert_close(np.conj(np.swapaxes(w, -1, -2)) @ w, np.broadcast_to(np.eye(n), (*lead, n, n)), dtype)
    assert_close(linalg.pinv(x), np.linalg.pinv(x), dtype)
    rank = linalg.matrix_rank(x)
    assert rank.dtype.kind == "i" and rank.tolist() == np.linalg.matrix_rank(x).tolist()
    for offset in (-1, 0, 2):
        assert_close(linalg.diagonal(x, offset=offset), np.linalg.diagonal(x, offset=offset), dtype)
        assert_close(linalg.trace(x, offset=offset), np.linalg.trace(x, offset=offset), dtype)
    for ord_ in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        if x.shape[-1] and x.shape[-2]:
            assert_close(linalg.matrix_norm(x, ord=ord_), np.linalg.matrix_norm(x, ord=ord_), dtype)
            got = linalg.matrix_norm(x, ord=ord_, keepdims=True)
            assert got.shape == (*lead, 1, 1)
    if x.shape[-1] and x.shape[-2]:
        for ord_ in (2, -2):
            assert_close(linalg.cond(x, ord=ord_), np.linalg.cond(x, ord_), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3,)), ((3, 3), (4, 3, 2)), ((2, 1, 3, 3), (4, 3, 1)), ((2, 3, 3), (2, 3, 0)),
     ((0, 0), (0, 2)), ((0, 3, 3), (3, 2))],
)  # fmt: skip
def test_systems_broadcast_as_the_standard_says(a, b, dtype):
    x, y = regular(*a, dtype=dtype), matrix(*b, dtype=dtype)
    want = np.linalg.solve(x, y)
    assert linalg.solve(x, y).dtype == dtype
    assert_close(linalg.solve(x, y), want, dtype)
    assert_close(linalg.lstsq(x, y), want, dtype, 10)
    for upper in (False, True):
        t = (np.triu if upper else np.tril)(x)
        assert_close(linalg.solve_triangular(x, y, upper=upper), np.linalg.solve(t, y), dtype)
        one = t - t * np.eye(a[-1]) + np.eye(a[-1], dtype=dtype)
        assert_close(linalg.solve_triangular(x, y, upper=upper, unitriangular=True), np.linalg.solve(one, y), dtype)


def test_least_squares_of_tall_wide_and_deficient_matrices():
    for shape in ((5, 3), (3, 5)):
        a, b = matrix(*shape), matrix(shape[0], 2)
        assert_close(linalg.lstsq(a, b), np.linalg.lstsq(a, b)[0])
    a = matrix(5, 2) @ matrix(2, 4)
    assert_close(linalg.lstsq(a, b := matrix(5)), np.linalg.lstsq(a, b)[0])
    assert_close(linalg.pinv(a), np.linalg.pinv(a))
    assert linalg.matrix_rank(a).item() == 2
    both = np.stack([np.diag([1.0, 1e-3]), np.diag([1.0, 1e-3])])
    assert linalg.matrix_rank(both, rtol=np.array([1e-2, 1e-4])).tolist() == [1, 2]
    assert_close(linalg.pinv(both, rtol=np.array([1e-2, 1e-4])), np.stack([np.diag([1.0, 0.0]), np.diag([1.0, 1e3])]))


def test_a_hermitian_part_is_decomposed():
    x = matrix(3, 3) * 0.1 + 2 * np.eye(3)
    part = (x + x.T) / 2
    assert_close(linalg.cholesky(x), np.linalg.cholesky(part))
    assert_close(linalg.eigvalsh(x), np.linalg.eigvalsh(part))
    g = grad(lambda x: (linalg.cholesky(x) ** 2 * np.arange(9.0).reshape(3, 3)).sum())(part).numpy()
    np.testing.assert_allclose(g, g.T, rtol=1e-15)


def test_integers_become_doubles_and_half_precision_is_refused():
    for name in ("inv", "det", "svdvals", "pinv", "matrix_norm", "matrix_exp"):
        assert getattr(linalg, name)(np.array([[2, 1], [1, 3]])).dtype == np.float64, name
    for dtype in (np.float16, bl.bfloat16):
        for name in ("inv", "cholesky", "svd", "eigh", "qr", "det"):
            with pytest.raises(bl.DTypeError, match=rf"{name}: expected float32.* got .*float16.*use .astype"):
                getattr(linalg, name)(np.eye(2).astype(dtype))


# Triangular systems


def test_substitution_in_blocks_equals_that_of_lapack():
    scipy_linalg = pytest.importorskip("scipy.linalg")
    a, b = matrix(300, 300) * 0.05 + 2 * np.eye(300), matrix(300, 2)
    for upper in (False, True):
        want = scipy_linalg.solve_triangular(a, b, lower=not upper)
        assert_close(linalg.solve_triangular(a, b, upper=upper), want)
        right = linalg.solve_triangular(a, b.T, upper=upper, left=False)
        assert_close(right, scipy_linalg.solve_triangular(a, b, lower=not upper, trans="T").T)


def test_substitution_keeps_small_elements_and_reads_one_triangle():
    a = np.array([[1e-12, 0, 0], [1.0, 1e-6, 0], [1.0, 1.0, 1.0]])
    exact = np.array([1e12, (1 - 1e12) * 1e6, 0.0])
    exact[2] = 1 - exact[0] - exact[1]
    garbage = a + np.triu(np.full((3, 3), np.nan), 1)
    np.testing.assert_allclose(linalg.solve_triangular(garbage, np.ones(3)).numpy(), exact, rtol=4e-16)
    g = grad(lambda a: linalg.solve_triangular(a, np.ones(3)) @ np.array([1.0, 2.0, 4.0]))(garbage).numpy()
    assert np.isfinite(g).all() and (g[np.triu_indices(3, 1)] == 0).all()


def test_a_shared_matrix_is_decomposed_once(monkeypatch):
    shapes = []
    real = np.linalg.solve
    monkeypatch.setattr(np.linalg, "solve", lambda a, b: (shapes.append(a.shape), real(a, b))[1])
    a, b = regular(3, 3), matrix(50, 3)
    got = vmap(lambda b: linalg.solve(a, b))(b)
    linalg.solve(a, b[..., None])
    assert shapes == [(3, 3), (3, 3)]
    assert_close(got, real(a, b.T).T)


# Gradients against PyTorch


def _invariant(x, u, s, vh):
    """A function of an SVD that does not depend on the signs of the vectors."""
    return ((u * s.exp()[..., None, :]) @ vh * x).sum()


def real_of(x):
    return x.real if hasattr(x, "is_complex") else bl.real(x)


# name: (function of the array module's linalg, matrices); values are real
PROGRAMS = {
    "cholesky": (lambda l, a, w: (l.cholesky(_part(a)) * w).sum(), [definite, matrix]),
    "inv": (lambda l, a, w: (l.inv(a) * w).sum(), [regular, matrix]),
    "det": (lambda l, a, w: l.det(a).sum(), [regular, matrix]),
    "slogdet": (lambda l, a, w: l.slogdet(a)[1].sum() + l.slogdet(a)[0].sum(), [regular, matrix]),
    "solve": (lambda l, a, w: (l.solve(a, w) ** 2).sum(), [regular, matrix]),
    "qr": (lambda l, a, w: (l.qr(a)[0] * w).sum() + (l.qr(a)[1] ** 2 * w).sum(), [regular, matrix]),
    "eigh": (
        lambda l, a, w: (((e := l.eigh(_part(a)))[1] * e[0].exp()[..., None, :]) @ _adjoint(e[1]) * w).sum(),
        [hermitian, matrix],
    ),
    "eigvalsh": (lambda l, a, w: (l.eigvalsh(_part(a)) ** 3 * real_of(w)[..., 0]).sum(), [hermitian, matrix]),
    "svdvals": (lambda l, a, w: (l.svdvals(a) ** 3 * real_of(w)[..., 0]).sum(), [regular, matrix]),
    "pinv": (lambda l, a, w: (l.pinv(a) * w).sum(), [regular, matrix]),
    "matrix_exp": (lambda l, a, w: (l.matrix_exp(a) * w).sum(), [regular, matrix]),
    "matrix_power": (lambda l, a, w: (l.matrix_power(a, -3) * w).sum() + l.matrix_power(a, 5).sum(), [regular, matrix]),
    "cond": (lambda l, a, w: l.cond(a).sum() , [regular, matrix]),
} | {
    f"matrix_norm {ord_}": (lambda l, a, w, ord_=ord_: l.matrix_norm(a, ord=ord_).sum(), [regular, matrix])
    for ord_ in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)
}  # fmt: skip


def _adjoint(x):
    return x.mH if hasattr(x, "mH") else bl.conj(x.mT)


def _part(x):
    """Of functions of Hermitian matrices PyTorch's gradient is Hermitian only when they are made so."""
    return (x + _adjoint(x)) / 2


def compare_with_torch(f, arrays):
    torch = pytest.importorskip("torch")
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    wanted = f(torch.linalg, *theirs)
    wanted = wanted.real if wanted.is_complex() else wanted
    wanted.backward()
    ours = [bl.tensor(a, requires_grad=True) for a in arrays]
    got = f(linalg, *ours)
    bl.real(got).backward()
    assert_close(got.real if isinstance(got, np.ndarray) else bl.real(got), wanted.detach().numpy())
    for x, t in zip(ours, theirs, strict=True):
        if t.grad is not None:
            assert_close(x.grad, t.grad.numpy(), factor=20)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_equal_those_of_pytorch(name, shape, dtype):
    f, kinds = PROGRAMS[name]
    compare_with_torch(f, [kind(*shape, dtype=dtype, seed=i) for i, kind in enumerate(kinds)])


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (2, 4, 2), (2, 2, 4)])
def test_gradients_of_wide_and_tall_matrices_equal_those_of_pytorch(shape, dtype):
    def squares(x):
        return real_of(x * (x.conj() if hasattr(x, "is_complex") else bl.conj(x)))

    a = regular(*shape, dtype=dtype)
    m, n = shape[-2:]
    k = min(m, n)
    w = np.arange(float(m * k)).reshape(m, k)
    v = matrix(n, m, dtype=dtype, seed=1)
    c = matrix(m, 2, dtype=dtype, seed=2)

    def torch_or_numpy(l, x):
        torch = pytest.importorskip("torch")
        return torch.tensor(x) if l is torch.linalg else x

    programs = [
        lambda l, a: (squares(l.qr(a)[0]) * torch_or_numpy(l, w)).sum() + (squares(l.qr(a)[1]) * torch_or_numpy(l, w.sum())).sum(),
        lambda l, a: (l.pinv(a) * torch_or_numpy(l, v)).sum(),
        lambda l, a: (squares(l.svd(a, full_matrices=False)[0]) * torch_or_numpy(l, w)).sum(),
        lambda l, a: (squares(l.svd(a, full_matrices=False)[2]).mT * torch_or_numpy(l, np.arange(float(n * k)).reshape(n, k))).sum(),
        lambda l, a: (l.svdvals(a) ** 3).sum() + l.matrix_norm(a, ord="nuc").sum(),
    ]  # fmt: skip
    if m > n:  # of wide ones PyTorch has another algorithm, without gradients
        programs.append(
            lambda l, a: squares(
                l.lstsq(a, torch_or_numpy(l, np.broadcast_to(c, (*shape[:-2], m, 2)).copy()))[0]
                if l is not linalg
                else l.lstsq(a, c)
            ).sum()
        )
    for f in programs:
        compare_with_torch(f, [a])


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (3, 3)])
def test_gradients_of_least_squares_are_those_of_the_pseudoinverse(shape):
    a, b, w = regular(*shape), matrix(shape[0]), matrix(shape[1])
    got = grad(lambda a, b: linalg.lstsq(a, b) @ w, argnums=(0, 1))(a, b)
    want = grad(lambda a, b: linalg.pinv(a) @ b @ w, argnums=(0, 1))(a, b)
    for g, t in zip(got, want, strict=True):
        assert_close(g, t.numpy())


# Determinants of singular matrices


def leibniz(x):
    """The determinant as a polynomial."""
    n = x.shape[-1]
    total = 0.0
    for order in itertools.permutations(range(n)):
        sign = np.linalg.det(np.eye(n)[list(order)])
        term = sign
        for i, j in enumerate(order):
            term = x[i, j] * term
        total = term + total
    return total


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_derivatives_of_a_determinant_at_any_rank(rank):
    x = matrix(4, rank) @ matrix(rank, 4, seed=1)
    if rank == 3:
        x = np.diag([2.0, 2.0, 2.0, 0.0])  # equal singular values too
    assert_close(grad(linalg.det)(x), grad(leibniz)(x).numpy())
    assert_close(bl.hessian(linalg.det)(x), bl.hessian(leibniz)(x).numpy())


def test_both_ways_to_an_adjugate_agree(monkeypatch):
    x = np.stack([regular(4, 4), rotated([1.0, 1e-11, 2.0, 3.0]), np.ones((4, 4)), 1e-90 * np.eye(4)])
    found = grad(lambda x: linalg.det(x).sum())(x).numpy()
    monkeypatch.setattr(determinant, "_norms", lambda x: np.full(x.shape[:-2], np.inf))
    for got, want in zip(found, grad(lambda x: linalg.det(x).sum())(x).numpy(), strict=True):
        size = np.max(np.abs(want))
        assert np.max(np.abs(got - want)) <= 1e-12 * size
    assert found[3, 0, 0] == pytest.approx(1e-270, rel=1e-12, abs=0)


def test_the_third_derivative_of_a_determinant_needs_a_regular_matrix():
    third = lambda f: bl.jacfwd(bl.hessian(f))
    x = regular(3, 3)
    assert_close(third(linalg.det)(x), third(leibniz)(x).numpy())
    fourth = bl.jacrev(third(lambda x: linalg.det(x) * linalg.det(x)))(x[:2, :2])
    assert_close(fourth, bl.jacrev(third(lambda x: leibniz(x) * leibniz(x)))(x[:2, :2]).numpy())
    with pytest.raises(linalg.LinAlgError, match="inv: .* is singular"):
        third(linalg.det)(np.zeros((3, 3)))


def test_the_logarithm_of_a_singular_determinant():
    x = np.ones((2, 2))
    assert linalg.slogdet(x).sign.item() == 0 and linalg.slogdet(x).logabsdet.item() == -math.inf
    with pytest.raises(linalg.LinAlgError, match="singular"):
        grad(lambda x: linalg.slogdet(x).logabsdet)(x)


# Where derivatives do not exist


def rotated(values, seed=0):
    q = np.linalg.qr(matrix(len(values), len(values), seed=seed))[0]
    return q @ np.diag(values) @ q.T


@pytest.mark.parametrize("values", [[1.0, 1.0, 3.0], [0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
def test_eigenvalues_alone_never_divide(values):
    for a in (np.diag(values), rotated(values)):
        for f in (lambda a: (linalg.eigh(a).eigenvalues ** 3).sum(), lambda a: (linalg.eigvalsh(a) ** 3).sum()):
            assert_close(grad(f)(a), 3 * a @ a)
            tangent = hermitian(3, 3, seed=5)
            _, pushed = jvp(f, (a,), (tangent,))
            assert_close(pushed, 3 * np.trace(a @ a @ tangent))


def test_eigenvectors_of_equal_eigenvalues_have_no_derivative():
    a, w = np.diag([1.0, 1.0, 3.0]), matrix(3, 3)
    # V h(lambda) V^T has a gradient that the decomposition does not know: no silent zero in its place
    with pytest.raises(bl.GradientError, match="eigh: eigenvalues 0 and 1 of the matrix are equal to within rounding"):
        grad(lambda a: ((e := linalg.eigh(a)).eigenvectors * e.eigenvalues @ e.eigenvectors.mT * w).sum())(a)
    with pytest.raises(
        bl.GradientError, match="eigenvalues 0 and 1 of the matrix are equal"
    ):  # to within rounding alone
        grad(lambda a: (linalg.eigh(a).eigenvectors * w).sum())(rotated([1.0, 1.0, 3.0], seed=2))
    with pytest.raises(bl.GradientError, match=r"eigenvalues 0 and 1 of matrix \[1\] of the batch"):
        grad(lambda a: (linalg.eigh(a).eigenvectors * w).sum())(np.stack([np.diag([1.0, 2.0, 3.0]), a]))
    _, pushed = jvp(lambda a: linalg.eigh(a), (a,), (hermitian(3, 3),))
    assert np.isnan(pushed.eigenvectors.numpy()[:2, :2]).all() and np.isfinite(pushed.eigenvalues.numpy()).all()
    assert np.isfinite(pushed.eigenvectors.numpy()[:, 2]).all()


def test_the_vector_of_a_single_eigenvalue_beside_equal_ones():
    a, w = rotated([1.0, 1.0, 3.0]), matrix(3, 3)
    f = lambda a: (v := linalg.eigh(a).eigenvectors[:, 2]) @ w @ v
    by_power = lambda a: (v := linalg.matrix_power(a, 80) / 3.0**80 @ np.ones(3)) @ w @ v / (v @ v)
    assert_close(
        grad(f)(a), grad(by_power)((a + a.T) / 2).numpy() * 0.5 + grad(by_power)(a).numpy().T * 0.5, factor=1000
    )


def test_second_derivatives_of_eigenvalues_divide():
    f = lambda a: (linalg.eigvalsh(a) ** 3).sum()
    a = rotated([1.0, 2.0, 4.0])
    tangent = hermitian(3, 3, seed=3)
    assert_close(bl.hvp(f, (a,), (tangent,)), 3 * (a @ tangent + tangent @ a), factor=10)
    with pytest.raises(bl.GradientError, match="equal to within rounding"):
        bl.jacrev(grad(f))(np.eye(2))


def test_singular_values_alone_never_divide():
    for a in (np.eye(3), np.zeros((3, 2)), np.ones((2, 4))):
        for f in (linalg.svdvals, lambda a: linalg.svd(a).S, lambda a: linalg.svd(a, full_matrices=False).S):
            squares = lambda a, f=f: (f(a) ** 2).sum()
            assert_close(grad(squares)(a), 2 * a)
            _, pushed = jvp(squares, (a,), (np.ones(a.shape),))
            assert_close(pushed, 2 * a.sum())
    for f in (linalg.svdvals, lambda a: linalg.svd(a).S):
        total = lambda a, f=f: f(a).sum()
        assert grad(total)(np.zeros((2, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]
        assert jvp(total, (np.zeros((2, 3)),), (np.ones((2, 3)),))[1].item() == 0


def test_singular_vectors_that_are_not_determined():
    for a, what in (
        (np.diag([2.0, 2.0, 1.0]), "singular values 0 and 1 of the matrix are equal"),
        (np.ones((3, 2)), "singular value 1 of the matrix is 0"),
        (np.zeros((2, 2)), "singular values 0 and 1 of the matrix are equal"),
    ):
        with pytest.raises(bl.GradientError, match=f"svd: {what}"):
            grad(lambda a: linalg.svd(a, full_matrices=False).U.sum())(a)
    _, pushed = jvp(lambda a: linalg.svd(a), (np.diag([2.0, 2.0, 1.0]),), (matrix(3, 3),))
    assert np.isnan(pushed.U.numpy()).any() and np.isfinite(pushed.S.numpy()).all()
    # one singular value of 0 in a square matrix determines its vectors up to their sign
    a = rotated([0.0, 1.0, 2.0]) @ np.diag([1.0, -1.0, 1.0])
    assert np.isfinite(grad(lambda a: (linalg.svd(a).U[:, 0] ** 2 * np.arange(3.0)).sum())(a).numpy()).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_columns_that_complete_a_basis_have_no_derivative(compiled):
    run = bl.compile if compiled else lambda f: f
    a, wide = regular(4, 2), regular(2, 4)
    for f, message in (
        (lambda a: linalg.qr(a, mode="complete").Q.sum(), "qr: with mode='complete' what is differentiated depends on"),
        (lambda a: linalg.svd(a).U.sum(), "svd: with full_matrices=True what is differentiated depends on"),
    ):
        with pytest.raises(bl.GradientError, match=message):
            run(lambda a, f=f: grad(f)(a))(a)
    with pytest.raises(bl.GradientError, match="use full_matrices=False"):
        run(lambda a: grad(lambda a: linalg.svd(a).Vh.sum())(a))(wide)
    for ours, reduced in (
        (lambda a: (linalg.svd(a).U[:, :2] ** 2 * np.arange(8.0).reshape(4, 2)).sum(),
         lambda a: (linalg.svd(a, full_matrices=False).U ** 2 * np.arange(8.0).reshape(4, 2)).sum()),
        (lambda a: (linalg.qr(a, mode="complete").R ** 2).sum(), lambda a: (linalg.qr(a).R ** 2).sum()),
    ):  # fmt: skip
        assert_close(run(lambda a, ours=ours: grad(ours)(a))(a), grad(reduced)(a).numpy())


@pytest.mark.parametrize("shape", [(4, 2), (2, 4), (2, 5, 2), (4, 3)])
def test_functions_of_the_space_that_completes_a_basis_have_one(shape):
    a, w = regular(*shape), matrix(max(shape[-2:]), max(shape[-2:]))
    tall = shape[-2] > shape[-1]
    k, columns = min(shape[-2:]), (lambda a: a) if tall else (lambda a: a.mT)
    outside = lambda c: (c @ c.mT * w).sum()
    want = lambda a: ((np.eye(w.shape[0]) - columns(a) @ linalg.pinv(columns(a))) * w).sum()
    made = [lambda a: outside(linalg.svd(a).U[..., k:] if tall else linalg.svd(a).Vh.mT[..., k:])]
    made += [lambda a: outside(linalg.qr(a, mode="complete").Q[..., k:])] if tall else []
    tangent = matrix(*shape, seed=7)
    for f in made:
        assert_close(f(a), want(bl.tensor(a)).numpy())
        assert_close(grad(f)(a), grad(want)(a).numpy())
        assert_close(jvp(f, (a,), (tangent,))[1], jvp(want, (a,), (tangent,))[1].numpy())
        second = lambda f: grad(lambda a: (grad(f)(a) * tangent).sum())(a)
        assert_close(second(f), second(want).numpy(), factor=50)


def test_dependent_columns_have_no_qr_derivative():
    with pytest.raises(linalg.LinAlgError, match="solve_triangular: the matrix is singular: element 1"):
        grad(lambda a: linalg.qr(a).R.sum())(np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))


# Phases of complex vectors


def spectral(a):
    e = linalg.eigh(a)
    return (e.eigenvectors * bl.exp(e.eigenvalues)) @ _adjoint(e.eigenvectors)


def polar(a):
    u, s, vh = linalg.svd(a, full_matrices=False)
    return (u * bl.sqrt(s)) @ vh


def projector(a):
    c = linalg.qr(a, mode="complete").Q[..., 2:]
    return c @ _adjoint(c)


PHASELESS = [
    (spectral, (3, 3)), (polar, (3, 3)), (polar, (4, 2)), (polar, (2, 4)), (projector, (4, 2)),
    (lambda a: bl.abs(linalg.eigh(a).eigenvectors) ** 2, (3, 3)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(PHASELESS)))
def test_what_does_not_depend_on_phases_has_derivatives_of_both_orders(number):
    f, shape = PHASELESS[number]
    a = regular(*shape, dtype=np.complex128)
    checks.adjoint(f, [a], 0)
    rng = np.random.default_rng(1)
    cotangent, tangent = checks.normal(rng, f(a)), checks.normal(rng, a)
    pulled = bl.vjp(f, a)[1](cotangent)[0]
    along = lambda f, w: directional(lambda t: np.asarray(checks.inner(w, f(a + t * tangent))), 1e-3)[0]
    assert checks.inner(pulled, tangent) == pytest.approx(float(along(f, cotangent)), rel=1e-8, abs=1e-8)
    again = lambda a: bl.vjp(f, a)[1](cotangent)[0]
    checks.adjoint(again, [a], 2)
    _, pushed = jvp(again, (a,), (tangent,))
    weights = checks.normal(rng, a)
    assert checks.inner(weights, pushed) == pytest.approx(float(along(again, weights)), rel=1e-7, abs=1e-7)


def test_what_depends_on_a_phase_has_none():
    h, a = hermitian(3, 3, dtype=np.complex128), regular(3, 3, dtype=np.complex128)
    with pytest.raises(bl.GradientError, match="eigh: what is differentiated depends on the phase of a vector"):
        grad(lambda a: bl.real(linalg.eigh(a).eigenvectors).sum())(h)
    with pytest.raises(bl.GradientError, match="svd: what is differentiated depends on the phase of a vector"):
        grad(lambda a: bl.imag(linalg.svd(a).Vh).sum())(a)


# The exponential


def test_exponentials_of_every_size():
    mpmath = pytest.importorskip("mpmath")
    cases = [matrix(4, 4) * size for size in (1e-8, 1e-3, 0.1, 0.3, 1.0, 1.3, 1.7, 2.2, 2.8, 3.5, 10.0)]
    cases += [np.zeros((3, 3)), np.array([[1.0, 1e6], [0.0, -1.0]]), np.triu(matrix(3, 3), 1) * 1e3, -50 * np.eye(2)]
    cases += [9.0 * np.eye(2)]
    with mpmath.workdps(60):
        for a in cases:
            want = np.array(mpmath.expm(mpmath.matrix(a.tolist()), method="taylor").tolist(), float)
            for dtype in (np.float64, np.float32):
                if dtype is np.float64 or np.max(np.abs(want)) < 1e5:
                    got = linalg.matrix_exp(a.astype(dtype)).numpy()
                    assert got.dtype == dtype
                    wanted = want if dtype is np.float64 else np.array(
                        mpmath.expm(mpmath.matrix(a.astype(dtype).astype(float).tolist()), method="taylor").tolist(), float
                    )  # fmt: skip
                    scale = np.max(np.abs(wanted), initial=1e-300) * max(1.0, np.linalg.norm(a, 1))
                    np.testing.assert_allclose(got / scale, wanted / scale, rtol=0, atol=20 * np.finfo(dtype).eps)


def test_a_batch_of_exponentials_of_different_size():
    a = np.stack([matrix(3, 3) * s for s in (1e-6, 1.0, 30.0)] + [np.full((3, 3), np.nan), np.zeros((3, 3))])
    got = linalg.matrix_exp(a).numpy()
    for x, g in zip(a, got, strict=True):
        if np.isfinite(x).all():
            assert_close(g, linalg.matrix_exp(x).numpy(), factor=1e3)
        else:
            assert np.isnan(g).all()


def test_a_large_cotangent_costs_no_digits():
    a, w = matrix(3, 3), matrix(3, 3, seed=1)
    small = grad(lambda a: (linalg.matrix_exp(a) * w).sum())(a).numpy()
    for size in (1e8, 1e-8, 1e100):
        large = grad(lambda a, size=size: (linalg.matrix_exp(a) * (w * size)).sum())(a).numpy()
        np.testing.assert_allclose(large / size, small, rtol=1e-13)


# Norms


def test_equal_largest_sums_share_the_gradient():
    a = np.array([[1.0, -1.0], [2.0, 2.0]])
    assert grad(lambda a: linalg.matrix_norm(a, ord=1))(a).tolist() == [[0.5, -0.5], [0.5, 0.5]]
    assert grad(lambda a: linalg.matrix_norm(a, ord=math.inf))(a).tolist() == [[0, 0], [1, 1]]
    zero = np.zeros((2, 2))
    for ord_ in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        assert grad(lambda a, ord_=ord_: linalg.matrix_norm(a, ord=ord_))(zero).tolist() == zero.tolist(), ord_
    assert linalg.matrix_norm(np.full((2, 2), 1e200)).item() == pytest.approx(2e200)
    assert linalg.cond(np.ones((2, 2)) * np.array([1.0, 0.0])).item() == math.inf


# Errors


ERRORS = [
    (lambda: linalg.inv(np.ones((2, 3))), bl.ShapeError, r"inv: expected square matrices \[..., n, n\], got float64\[2, 3\]"),
    (lambda: linalg.eigh(np.ones(3)), bl.ShapeError, "eigh: expected square matrices"),
    (lambda: linalg.qr(np.ones(3)), bl.ShapeError, r"qr: expected matrices \[..., m, n\]"),
    (lambda: linalg.svd(1.0), bl.ShapeError, "svd: expected matrices"),
    (lambda: linalg.svdvals(np.ones(2)), bl.ShapeError, "svdvals: expected matrices"),
    (lambda: linalg.matrix_norm(np.ones(2)), bl.ShapeError, "matrix_norm: expected matrices"),
    (lambda: linalg.matrix_norm(np.ones((0, 2)), ord=2), bl.ShapeError, "matrix_norm: nothing to choose from"),
    (lambda: linalg.matrix_norm(np.ones((2, 2)), ord=3), ArgumentError, "matrix_norm: ord must be one of 'fro'"),
    (lambda: linalg.qr(np.eye(2), mode="raw"), ArgumentError, "qr: mode must be 'reduced' or 'complete', got 'raw'"),
    (lambda: linalg.matrix_power(np.eye(2), 0.5), ArgumentError, "matrix_power: the power must be an integer, got 0.5"),
    (lambda: linalg.matrix_power(np.ones((2, 2)), -1), linalg.LinAlgError, "inv: the matrix is singular"),
    (lambda: linalg.solve(np.eye(2), np.ones(3)), bl.ShapeError, "solve: expected .* got float64.2, 2. and float64.3."),
    (lambda: linalg.solve(np.ones((2, 3, 3)), np.ones((4, 3, 1))), bl.ShapeError, "solve: leading axes do not broadcast"),
    (lambda: linalg.solve(np.ones((2, 2)), np.ones(2)), linalg.LinAlgError, "solve: the matrix is singular"),
    (lambda: linalg.solve(np.stack([np.eye(2), np.ones((2, 2))]), np.ones(2)), linalg.LinAlgError,
     r"solve: matrix \[1\] of the batch is singular"),
    (lambda: linalg.inv(np.zeros((2, 2))), linalg.LinAlgError, "inv: the matrix is singular"),
    (lambda: linalg.cholesky(-np.eye(2)), linalg.LinAlgError, "cholesky: the matrix is not positive definite"),
    (lambda: linalg.solve_triangular(np.diag([1.0, 0.0]), np.ones(2)), linalg.LinAlgError,
     "solve_triangular: the matrix is singular: element 1 of its diagonal is 0"),
    (lambda: linalg.solve_triangular(np.stack([np.eye(2), np.diag([0.0, 1])]), np.ones(2)), linalg.LinAlgError,
     r"matrix \[1\] of the batch is singular: element 0"),
    (lambda: linalg.lstsq(np.ones((3, 2)), np.ones(2)), bl.ShapeError, "lstsq: expected"),
    (lambda: linalg.pinv(np.ones((2, 3, 2)), rtol=np.ones(3)), bl.ShapeError, r"pinv: rtol \[3\] does not fit"),
    (lambda: linalg.cond(np.ones((0, 2))), bl.ShapeError, "cond: nothing to choose from"),
    (lambda: linalg.cond(np.ones((3, 2)), ord=1), bl.ShapeError, "cond: expected square"),
    (lambda: linalg.svd(np.full((2, 2), np.nan)), linalg.LinAlgError, "svd: the matrix has singular values that are not found"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors_name_the_function_and_what_is_wrong(number):
    wrong, kind, message = ERRORS[number]
    with pytest.raises(kind, match=message) as caught:
        wrong()
    assert isinstance(caught.value, bl.BacklitError) and __file__ in str(caught.value)
    if kind is linalg.LinAlgError:
        assert isinstance(caught.value, np.linalg.LinAlgError)


# Compiled


def test_compiled_functions_of_matrices_equal_eager_ones():
    a, b, h, p = regular(3, 3), matrix(3), hermitian(3, 3), definite(3, 3)
    tall = regular(4, 2)

    def losses(a, b, h, p, tall):
        u, s, vh = linalg.svd(tall, full_matrices=False)
        return (
            (linalg.solve(a, b) ** 2).sum() + linalg.slogdet(a).logabsdet + linalg.det(a) + linalg.inv(a)[0, 1]
            + (linalg.eigh(h).eigenvectors[:, 0] ** 2 * b).sum() + linalg.eigvalsh(h)[1] + (linalg.cholesky(p) * a).sum()
            + ((u * s) @ vh * np.arange(8.0).reshape(4, 2)).sum() + (linalg.qr(tall).R ** 2).sum()
            + linalg.svdvals(a)[0] + linalg.matrix_exp(a).sum() + linalg.lstsq(tall, np.ones(4)).sum() + linalg.pinv(tall).sum()
            + linalg.solve_triangular(a, b).sum() + linalg.matrix_norm(a) + linalg.cond(a) + linalg.matrix_rank(a)
        )  # fmt: skip

    gradient = bl.value_and_grad(losses, argnums=(0, 1, 2, 3, 4))
    compiled = bl.compile(lambda *args: gradient(*args))
    want, wanted = gradient(a, b, h, p, tall)
    got, found = compiled(a, b, h, p, tall)
    assert_close(got, want.numpy())
    for g, w in zip(found, wanted, strict=True):
        assert_close(g, w.numpy())
    assert {op for c in compiled.report(a, b, h, p, tall).callbacks for op in c.ops} >= {
        "solve",
        "svd",
        "cholesky",
        "matrix_exp",
    }


def test_an_error_in_a_compiled_step_is_the_eager_one_and_leaves_the_state():
    x = bl.tensor(np.eye(2), requires_grad=True)
    sgd = bl.optim.SGD([x], lr=1.0)

    @bl.compile
    def step():
        sgd.zero_grad()
        linalg.cholesky(x).sum().backward()
        sgd.step()

    for _ in range(10):
        before = x.numpy().copy()
        try:
            step()
        except linalg.LinAlgError as error:
            assert "cholesky: the matrix is not positive definite" in str(error)
            assert (x.numpy() == before).all()
            return
    raise AssertionError("never refused")
