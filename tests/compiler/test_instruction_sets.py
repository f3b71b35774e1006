"""Whole programs with the instructions of older and other machines: the same meaning, and no call of a library."""

from __future__ import annotations

import re

import checks
import numpy as np
import pytest
import rounding
from watched import check_program

import backlit as bl
from backlit.compiler import make_graph, native
from backlit.compiler.llvm.target import NEON, assembly, features, restricted
from backlit.core.op import REGISTRY, Elementwise
from backlit.nn import functional as F

LEVELS = {"avx512": "", "avx2": "avx512f", "sse4.2": "avx"}
ALLOWED = {"memcpy", "memset", "memmove"}  # what a compiler may make of a loop


def network(x, w, b, v):
    hidden = F.gelu(x @ w + b)
    return bl.sum(F.log_softmax(hidden @ v)[:, 0]) + bl.mean(hidden * hidden)


def functions(x, y):
    return [REGISTRY[n](x) for n in ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "sigmoid", "softplus")] + [
        bl.abs(x) ** y, bl.sqrt(bl.abs(x)), bl.floor(x), bl.sign(x), bl.maximum(x, y), x / y, x.astype("int64") * 3,
    ]  # fmt: skip


def moves(x, y):
    parts = (
        bl.concat([x[::-1, 1:], y[:, :-1] * 2.0], axis=1),
        bl.pad(x.T, [(1, 2), (0, 3)]) + 1.0,
        x[:, None, 1::2] * y[None, :, 1::2],
    )
    return [
        *parts,
        bl.sum(x * y, axis=0),
        bl.max(x, axis=1),
        bl.argmax(y, axis=0),
        bl.sum(x > y, axis=(0, 1)),
        bl.logsumexp(x.T, axis=0),
    ]


def products(x, y):
    return [x @ y.mT, x.mT @ y, x @ y[0], y[1] @ x.mT, (x[None] @ y.mT[None])[0], (x @ y.mT) @ x]


def programs():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        kind = np.dtype(dtype).name
        x, y = rng.standard_normal((2, 19, 37)).astype(dtype)
        w, b, v = rng.standard_normal((37, 50)), rng.standard_normal(50), rng.standard_normal((50, 5))
        weights = [0.2 * a.astype(dtype) for a in (w, b, v)]
        yield pytest.param(bl.value_and_grad(network, argnums=(0, 1, 2, 3)), [x, *weights], id=f"network-{kind}")
        yield pytest.param(functions, [x, y], id=f"functions-{kind}")
        yield pytest.param(moves, [x, y], id=f"moves-{kind}")
        yield pytest.param(products, [x, y], id=f"products-{kind}")
        yield pytest.param(
            lambda x: (bl.sum(x), bl.sum(x, axis=0), bl.max(x, axis=1)), [np.tile(x, (40, 3))], id=f"sums-{kind}"
        )
    n = rng.integers(-99, 99, (19, 37))
    for dtype in (np.int64, np.int32, np.uint8, np.int8):
        f = lambda n: [
            n * 3 + n,
            bl.maximum(n, 7),
            n > 5,
            bl.sum(n, axis=0),
            bl.max(n, axis=1),
            n.astype("float32"),
            n.astype("float64"),
            -n,
        ]
        yield pytest.param(f, [n.astype(dtype)], id=f"integers-{np.dtype(dtype).name}")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("f, arrays", list(programs()))
def test_programs_within_rounding(f, arrays, level):
    graph = make_graph(f)(*arrays)
    with restricted(features(LEVELS[level])):
        check_program(graph, [arrays], rounding.compare(graph), threads=(3,))


@pytest.mark.parametrize("level", ["avx2", "sse4.2"])
@pytest.mark.parametrize(
    "name", [n for n in sorted(REGISTRY) if isinstance(REGISTRY[n], Elementwise) and not checks.is_complex(n)]
)
def test_elementwise_ops(name, level):
    op, arrays = checks.sample(name, 1 if name == "where" else 0)
    with restricted(features(LEVELS[level])):
        for dtype in (np.float32, np.float64):
            shape = np.broadcast_shapes(*(a.shape for a in arrays))
            typed = [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays]
            typed = [np.tile(np.broadcast_to(a, shape), (7,) * len(shape)) for a in typed]
            graph = make_graph(op)(*typed)
            check_program(graph, [typed], rounding.compare(graph))


class Written(Exception):
    """What a program would compile."""


def text_of(f, arrays, allowed, monkeypatch):
    """The IR of a program for a machine."""

    def refuse(text, *_):
        raise Written(text)

    graph = make_graph(f)(*arrays)
    with monkeypatch.context() as patch, restricted(allowed):
        patch.setattr(native, "Code", refuse)
        with pytest.raises(Written) as found:
            native.Program(graph)
    return str(found.value)


def called(asm):
    """The functions that assembly calls or jumps to and that are not in it."""
    targets = set(re.findall(r"^\s+(?:callq?|bl|b|jmp)\s+\*?([A-Za-z_][\w.]*)(?:@PLT)?\s*$", asm, re.MULTILINE))
    defined = set(re.findall(r"^([\w.]+):", asm, re.MULTILINE))
    return {t for t in targets if t not in defined and not t.startswith((".L", "x"))}


@pytest.mark.parametrize("level", [*LEVELS, "neon"])
@pytest.mark.parametrize("f, arrays", list(programs()))
def test_no_library_is_called(f, arrays, level, monkeypatch):
    allowed = NEON if level == "neon" else features(LEVELS[level])
    asm = assembly(text_of(f, arrays, allowed, monkeypatch), allowed)
    assert called(asm) <= ALLOWED
    if level == "neon":
        vectors = r"\bv\d+\.(4s|2d|16b|8h)\b"
    else:
        vectors = {"avx512": r"%zmm\d+", "avx2": r"%ymm\d+", "sse4.2": r"%xmm\d+"}[level]
    assert len(re.findall(vectors, asm)) > 20
    if level == "sse4.2":
        assert not re.search(r"%[yz]mm|vfmadd|\bv(add|mul)p", asm)


def test_calls_are_found():
    asm = "f:\n\tcallq\texpf@PLT\n\tcall\tg\n\tjmp\t.LBB0_1\n\tcallq\t*%rax\n\tbl\tfmaf\n\tb\tf\ng:\n"
    assert called(asm) == {"expf", "fmaf"}
    text = "declare <4 x float> @llvm.exp.v4f32(<4 x float>)\ndefine <4 x float> @f(<4 x float> %x) {\n  %y = call <4 x float> @llvm.exp.v4f32(<4 x float> %x)\n  ret <4 x float> %y\n}"
    assert called(assembly(text, NEON)) == {"expf"} == called(assembly(text, features()))


@pytest.mark.parametrize("level", LEVELS)
def test_products_are_right_without_fused_instructions(level):
    """Against exact sums: within k units of the sum of sizes, however the steps are rounded."""
    rng = np.random.default_rng(1)
    for dtype in (np.float32, np.float64):
        for m, k, n in [(5, 7, 3), (33, 64, 17), (1, 300, 40), (40, 300, 1), (64, 129, 65)]:
            x, y = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            with restricted(features(LEVELS[level])):
                (got,) = native.Program(make_graph(lambda x, y: x @ y)(x, y))(x, y)
            wide = np.longdouble
            exact = x.astype(wide) @ y.astype(wide)
            allowed = k * np.finfo(dtype).eps / 2 * (np.abs(x).astype(wide) @ np.abs(y).astype(wide)) * 1.01
            assert (np.abs(got - exact) <= allowed).all()
