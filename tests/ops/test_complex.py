"""Complex numbers: the generated tests of every op that takes them, and what they mean for gradients."""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import checks
import numpy as np
import pytest

import backlit as bl
from backlit.core import op as op_module
from backlit.core.op import REGISTRY, Elementwise

# ops that take complex numbers; others may, and are then held against differences in the same way
TAKES = {
    "abs", "acos", "acosh", "add", "asin", "asinh", "astype", "atan", "atanh", "broadcast_to", "concat", "conj", "cos",
    "cosh", "detach", "div", "equal", "exp", "exp2", "expm1", "fence", "imag", "index", "isfinite", "isinf", "isnan", "log",
    "log10", "log1p", "log2", "matmul", "mul", "neg", "not_equal", "pad", "permute_dims", "pow", "put", "real", "reshape",
    "round", "rsqrt", "scatter_add", "sign", "sin", "sinh", "sqrt", "sub", "sum", "sum_to", "tan", "tanh", "where",
    "all", "any", "cumprod", "cumsum", "norm", "prod", "recurrence",
}  # fmt: skip
# complex numbers have no order, NumPy's of their parts notwithstanding
ORDER = {
    "less", "less_equal", "greater", "greater_equal", "maximum", "minimum", "max", "min", "argmax", "argmin", "sort",
    "argsort", "cummax", "cummin", "searchsorted", "median", "quantile", "floor", "ceil", "trunc", "floor_divide",
    "remainder", "topk",
}  # fmt: skip
PHASES = {"complement", "eigh", "svd"}  # give vectors up to a phase; tests of linalg hold what does not depend on it


def takes(name):
    with checks.complex_samples():
        op, arrays = checks.sample(name, 0)
        if not any(a.dtype.kind == "c" for a in arrays):
            arrays = [a + 0.5j if a.dtype.kind == "f" else a for a in arrays]
        if not any(a.dtype.kind == "c" for a in arrays):
            return False
        try:
            op(*arrays)
        except bl.BacklitError:
            return False
    return True


TAKING = [name for name in sorted(REGISTRY) if takes(name) and name != "astype"]


def cases():
    return [(n, k) for n, k in checks.cases() if n in TAKING]


def test_which_ops_take_complex_numbers():
    assert set(TAKING) | {"astype"} >= TAKES and not set(TAKING) & ORDER


@pytest.mark.parametrize("check", [*checks.DIFFERENTIAL, checks.check_shape_rule, checks.check_inputs_untouched])
@pytest.mark.parametrize(("name", "k"), cases())
def test_generated(check, name, k):
    if not REGISTRY[name].differentiable and check in checks.DIFFERENTIAL[:3]:
        return
    if name in PHASES and check in checks.DIFFERENTIAL:
        return
    with checks.complex_samples():
        check(name, k)


@pytest.mark.parametrize(
    "name", sorted({n for n, _ in cases() if REGISTRY[n].differentiable} - PHASES | {"make_complex"})
)
def test_compiled_equals_eager(name):
    """By the eager forward: the values, what is pulled back and what is pushed forward."""
    made, given = [], []
    with checks.complex_samples() if name != "make_complex" else nullcontext():
        for k in range(len(REGISTRY[name].samples())):
            op, arrays = checks.sample(name, k)
            made.append(op)
            given.append(arrays)

    def every():
        found = []
        for op, arrays in zip(made, given, strict=True):
            xs = [bl.tensor(a) for a in arrays]
            out, pullback = bl.vjp(op, *xs)
            rng = np.random.default_rng(0)
            found += [out, pullback(checks.normal(rng, out))]
            found.append(bl.jvp(op, tuple(xs), checks.directions(arrays, rng))[1])
        return found

    for x, y in zip(bl.tree.leaves(every()), bl.tree.leaves(bl.compile(every)()), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(y.numpy(), x.numpy(), rtol=1e-15)  # NumPy's scalars are not its arrays


CONJUGATED = [
    n for n in TAKING if isinstance(REGISTRY[n], Elementwise) and REGISTRY[n].differentiable and REGISTRY[n].reads(0)
]


@pytest.mark.parametrize("name", ["matmul", *(n for n in CONJUGATED if n not in ("where", "fence"))])
def test_a_conjugate_left_out_is_noticed(name, monkeypatch):
    monkeypatch.setattr(op_module, "_conjugate", lambda partial: partial)
    monkeypatch.setattr(bl.ops.contract, "conj", lambda x: x)
    with checks.complex_samples(), pytest.raises(AssertionError):
        checks.check_adjoint(name, 0)


def z(*shape, seed=0, dtype=np.complex128):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)


def test_a_step_against_the_gradient_descends():
    target = z(5, seed=1)
    p = bl.tensor(z(5), requires_grad=True)
    losses = []
    for _ in range(60):
        loss = bl.sum(bl.abs(p * (2 - 1j) - target) ** 2)
        loss.backward()
        losses.append(loss.item())
        with bl.no_grad():
            p -= 0.05 * p.grad
        p.grad = None
    assert losses[-1] < 1e-20 and all(b <= a + 1e-20 for a, b in itertools.pairwise(losses))


PROGRAMS = {
    "products": lambda m, a, b: m.abs((a @ b) * (2 - 1j)).sum() + (a * b).real.sum(),
    "real and complex": lambda m, a, b: (a.real * b).imag.sum() + m.angle(a + 1.5 * b).sum(),
    "functions": lambda m, a, b: (m.exp(a) / (m.cos(b) + 3.0) - m.sqrt(a) * m.log(b)).real.sum(),
    "powers": lambda m, a, b: ((a**2) * (b ** (0.5 + 1j)) - 2.0 ** (a * 0.3)).imag.sum() + (a**b).real.sum(),
    "conjugates": lambda m, a, b: (a.conj() * m.tanh(b) + m.conj(b)[0] * 2j).real.sum() - m.abs(a - a.conj()).sum(),
    "inverses": lambda m, a, b: (m.asin(a) + m.acos(b) * m.atan(a) + m.asinh(b) - m.acosh(a) * m.atanh(b)).real.sum(),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_equal_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    f, arrays = PROGRAMS[name], [z(3, 3), z(3, 3, seed=1)]
    leaves = [bl.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    f(bl, *leaves).backward()
    f(torch, *theirs).backward()
    for x, y in zip(leaves, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12, atol=1e-12)
    found = bl.grad(lambda a, b: f(bl, a, b), argnums=(0, 1))(*arrays)
    for x, y in zip(leaves, found, strict=True):
        np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_pass_gradcheck_and_are_the_same_compiled(name):
    f, arrays = lambda a, b: PROGRAMS[name](bl, a, b), [z(2, 2), z(2, 2, seed=1)]
    assert bl.gradcheck(f, *arrays)
    both = lambda a, b: bl.value_and_grad(f, argnums=(0, 1))(a, b)
    eager, compiled = bl.tree.leaves(both(*arrays)), bl.tree.leaves(bl.compile(both)(*arrays))
    for x, y in zip(eager, compiled, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(y.numpy(), x.numpy(), rtol=1e-14, atol=1e-14)


def test_real_inputs_get_real_gradients():
    x = np.array([0.5, -1.0], np.float32)
    g = bl.grad(lambda x: bl.abs(bl.exp(1j * x) + x * (1 + 2j)).sum())(x)
    assert g.dtype == np.float32
    assert bl.gradcheck(lambda x: bl.abs(bl.exp(1j * x) + x * (1 + 2j)), x.astype(np.float64))
    assert bl.gradcheck(lambda x, y: bl.complex(x, y) ** 2, np.array([0.5, -1.0]), np.array([[2.0], [3.0]]))
    out, tangent = bl.jvp(lambda x: x * 1j, (x,), (np.ones(2, np.float32),))
    assert out.dtype == tangent.dtype == np.complex64


def test_what_has_no_gradient_says_what_to_do():
    a = z(3)
    for call in (
        lambda: bl.grad(lambda x: (x * x).sum())(a),
        lambda: (bl.tensor(a, requires_grad=True) ** 2).sum().backward(),
        lambda: bl.value_and_grad(lambda x: x)(1j),
    ):
        with pytest.raises(bl.DTypeError, match=r"\.real"):
            call()
    for f in (bl.less, bl.maximum, lambda a, b: bl.clip(a, -1, 1), lambda a, b: bl.max(a), lambda a, b: bl.argmin(a)):
        for g in (f, bl.compile(f), bl.vmap(f), lambda a, b, f=f: bl.jvp(f, (a, b), (a, b))):
            with pytest.raises(bl.DTypeError, match="complex"):
                g(a, a)
    for make in (lambda: bl.tensor(a).astype("float64"), lambda: bl.tensor([1j], dtype="float32")):
        with pytest.raises(bl.DTypeError, match=r"\.real"):
            make()
    with pytest.raises(bl.DTypeError, match="two real"):
        bl.complex(a, 1.0)
    with pytest.raises(bl.DTypeError, match="view_as_real"):
        bl.view_as_real(np.ones(2))
    with pytest.raises(bl.ShapeError, match="view_as_complex"):
        bl.view_as_complex(np.ones((2, 3)))


def test_jacobians_of_one_complex_side():
    a, x = z(3), np.array([0.3, -0.7])
    f = lambda z: bl.abs(z * z[::-1]) ** 2
    rows = bl.jacrev(f)(a).numpy()
    for k in range(3):
        np.testing.assert_allclose(rows[k], bl.grad(lambda z, k=k: f(z)[k])(a).numpy(), rtol=1e-13)
    g = lambda x: bl.exp(1j * x) * x[0]
    parts = [bl.jacrev(lambda x, p=p: p(g(x)))(x).numpy() for p in (bl.real, bl.imag)]
    np.testing.assert_allclose(bl.jacfwd(g)(x).numpy(), parts[0] + 1j * parts[1], rtol=1e-13)
    for h in (bl.jacfwd(f), bl.jacrev(lambda z: z * z), bl.hessian(f)):
        with pytest.raises(bl.DTypeError, match="view_as_real"):
            h(a)


def test_the_absolute_value_and_the_angle_have_slope_0_at_0():
    g = bl.grad(lambda x: bl.abs(x).sum() + bl.angle(x).sum() + bl.sign(x).real.sum())(np.zeros(2, np.complex128))
    assert (g.numpy() == 0).all()
    np.testing.assert_array_equal(bl.angle(np.array([-0.0, 0.0, -1.0, 1j])), [np.pi, 0.0, np.pi, np.pi / 2])


def test_dtypes():
    a, x = bl.tensor(z(2, dtype=np.complex64)), bl.tensor([1.0, 2.0])
    wide = bl.tensor(np.ones(2))
    assert bl.tensor(1j).dtype == bl.tensor([1, 2j]).dtype == bl.full(2, 1j).dtype == np.complex64
    assert bl.linspace(0, 1j, 3).dtype == bl.asarray([1j]).dtype == bl.ones(2, dtype="complex64").dtype == np.complex64
    for out in (a * 2, a * 2.0, a * 2j, x * 2j, a + x, 1j - x, a**x, bl.where([True, False], x, 1j), abs(a) + a):
        assert out.dtype == np.complex64, out
    for out in (a + wide, wide * 1j, bl.complex(wide, 1.0), bl.tensor([1, 2]) * 1j, bl.sum(wide * 1j)):
        assert out.dtype == np.complex128, out
    assert (bl.tensor([1, 2]) * a).dtype == np.complex64
    assert a.real.dtype == a.imag.dtype == abs(a).dtype == a.angle().dtype == np.float32
    assert x.real is not None and x.conj().dtype == np.float32 and (x.imag.numpy() == 0).all()
    assert (bl.mean(a).dtype, bl.isnan(a).dtype, a.astype(bool).dtype) == (np.complex64, bool, bool)
    np.testing.assert_array_equal(bl.view_as_complex(bl.view_as_real(a)), a)
    inf = bl.complex(np.array([np.inf, -0.0]), np.array([1.0, -0.0])).numpy()
    assert inf[0] == complex(np.inf, 1.0) and np.signbit(inf[1].real) and np.signbit(inf[1].imag)


def test_numpys_functions_give_tensors():
    a = bl.tensor(z(3))
    for f in (np.real, np.imag, np.conj, np.angle, np.abs, np.exp):
        got = f(a)
        assert isinstance(got, bl.Tensor)
        np.testing.assert_allclose(got.numpy(), f(a.numpy()), rtol=1e-15)


def test_bfloat16_beside_a_python_float_stays_bfloat16():
    x = bl.tensor([0.5, 2.0, -1.0], dtype=bl.bfloat16)
    ops = (bl.add, bl.subtract, bl.multiply, bl.divide, bl.pow, bl.maximum, bl.minimum, bl.remainder, bl.floor_divide,
           bl.hypot, bl.atan2, bl.copysign, bl.logaddexp)  # fmt: skip
    for op in ops:
        for args in ((x, 0.3), (0.3, x)):
            out = op(*args)
            rounded = [bl.tensor(a, dtype=bl.bfloat16) for a in args]
            assert out.dtype == bl.bfloat16, op
            np.testing.assert_array_equal(out.astype("float32"), op(*rounded).astype("float32"))
            g = bl.grad(lambda a, args=args, op=op: op(*(a if b is x else b for b in args)).sum())(x)
            assert g.dtype == bl.bfloat16
            compiled = bl.compile(lambda a, args=args, op=op: op(*(a if b is x else b for b in args)))(x)
            np.testing.assert_array_equal(compiled.astype("float32"), out.astype("float32"))
    assert (x < 0.3).dtype == bool and (x * 2).dtype == bl.bfloat16
    assert bl.vmap(lambda v: v * 0.3)(x).dtype == bl.bfloat16
    assert bl.grad(lambda v: bl.maximum(v, 0.5).sum())(x).tolist() == [0.0, 1.0, 0.0]  # the number wins the tie
