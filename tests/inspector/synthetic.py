"""Recordings made up for the page: the shapes S, M, R, G and X with the topology of real models and drawn contents.

The page must be fast on graphs that no test can afford to run, and must draw every table. Numbers here are
seeded noise (in S they are those of the worked example); what the engine records is tested elsewhere.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from backlit.inspector.page import page
from backlit.inspector.wire import pack

PARAMETER, INPUT, CONSTANT, OP = range(4)
FORWARD, SAVE, SEED, VJP, CONTRIBUTION, COMPLETED, FREE, RECOMPUTE, UPDATE = range(9)
EDGES = np.concatenate([-np.logspace(6, -10, 32), np.logspace(-10, 6, 33)])
KEEPS = {"matmul", "multiply", "exp", "tanh", "relu", "divide", "square", "conv", "sqrt", "gelu"}
FORMULAS = {  # op: forward, then the rule of each argument
    "add": (r"\arg{0} + \arg{1}", [r"\up", r"\up"]),
    "multiply": (r"\arg{0} \cdot \arg{1}", [r"\up \cdot \arg{1}", r"\up \cdot \arg{0}"]),
    "square": (r"\arg{0}^2", [r"2\,\arg{0} \cdot \up"]),
    "matmul": (r"\arg{0}\,\arg{1}", [r"\up\,\arg{1}^\top", r"\arg{0}^\top\,\up"]),
    "relu": (r"\max(0, \arg{0})", [r"\up \odot [\arg{0} > 0]"]),
    "tanh": (r"\tanh \arg{0}", [r"\up \odot (1 - \out^2)"]),
    "exp": (r"e^{\arg{0}}", [r"\up \odot \out"]),
    "mean": (r"\operatorname{mean} \arg{0}", [r"\tfrac{1}{n}\,\up"]),
}


@dataclass
class Made:
    """One node as it is put together."""

    name: str
    kind: int
    op: str
    args: list[int]
    shape: tuple[int, ...]
    module: int
    wanted: bool = False
    value: np.ndarray | None = None
    uses: list[tuple[int, int]] = field(default_factory=list)  # (node, argnum)


class Graph:
    """Builds a graph and its modules; `tables()` runs it forward and backward on paper."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.random = np.random.default_rng(seed)
        self.nodes: list[Made] = []
        self.modules: list[tuple[str, str, str, int, int]] = [("", name, "", -1, 0)]
        self.within = [0]
        self.counts: dict[tuple[int, str], int] = {}

    def module(self, name: str, cls: str, kind: int = 1):
        """A context inside which nodes belong to a submodule."""
        graph = self

        class Inside:
            def __enter__(self) -> None:
                parent = graph.within[-1]
                path = f"{graph.modules[parent][0]}.{name}" if parent else name
                graph.modules.append((path, name, cls, parent, kind))
                graph.within.append(len(graph.modules) - 1)

            def __exit__(self, *_: object) -> None:
                graph.within.pop()

        return Inside()

    def _node(self, name: str, kind: int, op: str, args: list[int], shape: tuple[int, ...], wanted: bool) -> int:
        module = self.within[-1]
        path = self.modules[module][0]
        if kind == OP:
            number = self.counts.get((module, name), 0)
            self.counts[module, name] = number + 1
            name = f"{name}#{number}"
        self.nodes.append(Made(f"{path}/{name}" if path else name, kind, op, args, shape, module, wanted))
        me = len(self.nodes) - 1
        for argnum, arg in enumerate(args):
            self.nodes[arg].uses.append((me, argnum))
        return me

    def parameter(self, name: str, *shape: int) -> int:
        return self._node(name, PARAMETER, "", [], shape, True)

    def input(self, name: str, *shape: int) -> int:
        return self._node(name, INPUT, "", [], shape, False)

    def constant(self, name: str, *shape: int) -> int:
        return self._node(name, CONSTANT, "", [], shape, False)

    def op(self, op: str, *args: int, shape: tuple[int, ...] | None = None) -> int:
        wanted = any(self.nodes[a].wanted for a in args)
        return self._node(op, OP, op, list(args), self.nodes[args[0]].shape if shape is None else shape, wanted)

    def linear(self, x: int, inner: int, outer: int, name: str = "linear") -> int:
        with self.module(name, "Linear"):
            w, b = self.parameter("weight", inner, outer), self.parameter("bias", outer)
            shape = (*self.nodes[x].shape[:-1], outer)
            y = self.op("matmul", x, w, shape=shape)
            return self.op("add", y, self.op("broadcast_to", b, shape=shape), shape=shape)

    def norm(self, x: int, name: str) -> int:
        with self.module(name, "LayerNorm"):
            shape, narrow = self.nodes[x].shape, (*self.nodes[x].shape[:-1], 1)
            mean = self.op("mean", x, shape=narrow)
            centred = self.op("subtract", x, mean, shape=shape)
            spread = self.op("mean", self.op("square", centred), shape=narrow)
            eps = self.constant("eps")
            y = self.op("divide", centred, self.op("sqrt", self.op("add", spread, eps)), shape=shape)
            y = self.op("multiply", y, self.parameter("weight", shape[-1]), shape=shape)
            return self.op("add", y, self.parameter("bias", shape[-1]), shape=shape)

    # -- the passes, on paper

    def tables(self, *, thumb: int = 16, exact: int = 1024) -> dict[str, dict[str, object]]:
        nodes, random = self.nodes, self.random
        n = len(nodes)
        events: list[tuple[int, int, int, int]] = []  # kind, node, edge, bytes
        forward, vjp, completed = (np.full(n, -1, np.int32) for _ in range(3))
        size = np.array([int(np.prod(m.shape)) for m in nodes], np.int64)
        edges = [(a, i, k) for i, m in enumerate(nodes) for k, a in enumerate(m.args)]
        number = {(i, k): e for e, (_, i, k) in enumerate(edges)}
        edge_event, order = np.full(len(edges), -1, np.int32), np.full(len(edges), -1, np.int32)
        kept: dict[int, list[tuple[int, int]]] = {}
        since: dict[int, int] = {}
        for i, m in enumerate(nodes):
            if m.kind != OP:
                continue
            forward[i] = len(events)
            events.append((FORWARD, i, -1, int(size[i]) * 4))
            if m.wanted and m.op in KEEPS:
                for k, a in enumerate(m.args):
                    kept.setdefault(a, []).append((i, k))
                    if a not in since:
                        since[a] = len(events)
                        events.append((SAVE, a, -1, int(size[a]) * 4))
        last = n - 1
        arrived: dict[int, int] = {}
        until: dict[int, int] = {}
        events.append((SEED, last, -1, 4))
        completed[last] = len(events)
        events.append((COMPLETED, last, -1, 4))
        for i in range(last, -1, -1):
            m = nodes[i]
            if not m.wanted or m.kind != OP or completed[i] < 0:
                continue
            vjp[i] = len(events)
            events.append((VJP, i, -1, 0))
            for k, a in enumerate(m.args):
                if not nodes[a].wanted:
                    continue
                e = number[i, k]
                edge_event[e], order[e] = len(events), arrived.get(a, 0)
                arrived[a] = order[e] + 1
                events.append((CONTRIBUTION, a, e, int(size[a]) * 4))
                if arrived[a] == len(nodes[a].uses):
                    completed[a] = len(events)
                    events.append((COMPLETED, a, -1, int(size[a]) * 4))
            for a in m.args:
                if a in since and a not in until and all(vjp[reader] >= 0 for reader, _ in kept[a]):
                    until[a] = len(events)
                    events.append((FREE, a, -1, int(size[a]) * 4))
        ops = sorted({m.op for m in nodes if m.op})
        raw: list[np.ndarray] = []
        places = [0]
        array_rows: list[tuple[int, int, int, int, float, str, int, int]] = []
        stats: list[tuple[object, ...]] = []
        hists: list[np.ndarray] = []

        def contents(shape: tuple[int, ...], values: np.ndarray | None, spread: float) -> tuple[int, tuple[float, ...]]:
            count = int(np.prod(shape))
            rows = int(np.prod(shape[:-1])) if shape else 1
            cols = shape[-1] if shape else 1
            whole = count <= exact
            if values is None:
                if not whole:
                    rows, cols = min(rows, thumb), min(cols, thumb)
                values = random.normal(0, spread, (rows, cols)).astype(np.float32)
            full = values.size == count
            top = float(np.abs(values).max()) or 1.0
            data = values.tobytes() if full else np.rint(values / top * 127).astype(np.int8).tobytes()
            at = places[-1]
            raw.append(np.frombuffer(data + bytes(-len(data) % 8), np.uint8))
            places.append(at + len(raw[-1]))
            kind = {"float64": "f8", "float32": "f4"}[str(values.dtype)] if full else "i1"
            array_rows.append((rows, cols, 1, int(full), top / 127, kind, at, len(data)))
            v = values.astype(np.float64)
            hists.append(np.histogram(v, EDGES)[0].astype(np.uint32))
            numbers = (v.min(), v.max(), v.mean(), float(np.sqrt((v * v).mean())), top, float((v == 0).sum()))
            return len(array_rows) - 1, (float(count), *numbers, 0.0, 0.0, 0.0)

        depth = np.zeros(n)
        for i, m in enumerate(nodes):
            depth[i] = max([depth[a] + 1 for a in m.args], default=0)
        for i, m in enumerate(nodes):
            decay = 10 ** (-2.5 * (1 - depth[i] / max(1.0, depth.max())))
            at, numbers = contents(m.shape, m.value, 1.0)
            stats.append((i, 0, -1, *numbers, len(stats) * 64, at))
            if completed[i] >= 0:
                at, numbers = contents(m.shape, None, 0.05 * decay)
                stats.append((i, 1, -1, *numbers, len(stats) * 64, at))
        names = ["node", "which", "edge", "n", "min", "max", "mean", "rms", "absmax", "zeros", "nans", "infs"]
        names += ["subnormals", "hist_start", "array"]
        integer = {"node", "edge", "hist_start", "array"}
        kinds = {c: np.int32 if c in integer else np.uint8 if c == "which" else np.float64 for c in names}
        stat = {c: np.array([s[j] for s in stats], kinds[c]) for j, c in enumerate(names)}
        norm = np.where(edge_event >= 0, 10 ** random.normal(-1.5, 0.7, len(edges)), -1.0)
        saved = list(kept)
        readers = [r for a in saved for r in kept[a]]
        dims = [d for m in nodes for d in m.shape]
        ndim = np.array([len(m.shape) for m in nodes], np.uint8)
        columns = np.array(array_rows, object).reshape(-1, 8).T
        formulas = [o for o in ops if o in FORMULAS]
        rules = [(formulas.index(o), k, r) for o in formulas for k, r in enumerate(FORMULAS[o][1])]
        first = np.array([e[0] for e in edges], np.int32)
        lit = completed >= 0
        return {
            "op": {"name": ops, "notation": ops},
            "module": {
                "path": [m[0] for m in self.modules],
                "name": [m[1] for m in self.modules],
                "class": [m[2] for m in self.modules],
                "parent": np.array([m[3] for m in self.modules], np.int32),
                "kind": np.array([m[4] for m in self.modules], np.uint8),
            },
            "node": {
                "name": [m.name for m in nodes],
                "label": [m.name.rsplit("/", 1)[-1].split("#")[0] for m in nodes],
                "kind": np.array([m.kind for m in nodes], np.uint8),
                "op": np.array([ops.index(m.op) if m.op else -1 for m in nodes], np.int32),
                "module": np.array([m.module for m in nodes], np.int32),
                "step": np.zeros(n, np.int32),
                "dtype": ["float32"] * n,
                "dims_start": (np.cumsum(ndim) - ndim).astype(np.int32),
                "ndim": ndim,
                "size": size,
                "bytes": size * 4,
                "source": np.where(np.array([m.kind for m in nodes]) == OP, 0, -1).astype(np.int32),
                "forward_event": forward,
                "vjp_event": vjp,
                "completed_event": completed,
                "forward_ns": np.where(forward >= 0, np.rint(10 ** random.normal(4, 0.6, n)), -1.0),
                "backward_ns": np.where(vjp >= 0, np.rint(10 ** random.normal(4.3, 0.6, n)), -1.0),
                "uses": np.array([len(m.uses) for m in nodes], np.int32),
                "params": ["axis=-1" if m.op == "mean" else "" for m in nodes],
                "formula": np.array([formulas.index(m.op) if m.op in FORMULAS else -1 for m in nodes], np.int32),
            },
            "dims": {"n": np.array(dims, np.float64)},
            "edge": {
                "from": first,
                "to": np.array([e[1] for e in edges], np.int32),
                "argnum": np.array([e[2] for e in edges], np.int32),
                "wanted": edge_event >= 0,
                "event": edge_event,
                "order": order,
                "norm": norm,
                "share": np.where(edge_event >= 0, random.normal(0.3, 0.4, len(edges)), -1.0),
                "cosine": np.where(edge_event >= 0, np.tanh(random.normal(0.5, 1, len(edges))), -1.0),
                "array": np.array([-1] * len(edges), np.int32),
            },
            "event": {
                "kind": np.array([e[0] for e in events], np.uint8),
                "node": np.array([e[1] for e in events], np.int32),
                "edge": np.array([e[2] for e in events], np.int32),
                "bytes": np.array([e[3] for e in events], np.float64),
                "ns": np.array([1000.0 * (i + 1) for i in range(len(events))]),
            },
            "stat": stat,
            "hist": {"count": np.concatenate(hists)},
            "array": {
                "rows": columns[0].astype(np.int32),
                "cols": columns[1].astype(np.int32),
                "slices": columns[2].astype(np.int32),
                "full": columns[3].astype(np.uint8),
                "scale": columns[4].astype(np.float64),
                "dtype": [str(k) for k in columns[5]],
                "at": columns[6].astype(np.float64),
                "nbytes": columns[7].astype(np.float64),
            },
            "raw": {"byte": np.concatenate(raw)},
            "saved": {
                "node": np.array(saved, np.int32),
                "from_event": np.array([since[a] for a in saved], np.int32),
                "to_event": np.array([until.get(a, -1) for a in saved], np.int32),
                "bytes": np.array([size[a] * 4.0 for a in saved]),
                "readers_start": np.cumsum([0, *[len(kept[a]) for a in saved]])[: len(saved)].astype(np.int32),
                "readers_count": np.array([len(kept[a]) for a in saved], np.int32),
            },
            "reader": {
                "node": np.array([r[0] for r in readers], np.int32),
                "argnum": np.array([r[1] for r in readers], np.int32),
            },
            "formula": {
                "forward_latex": [FORMULAS[o][0] for o in formulas],
                "forward_text": [FORMULAS[o][0].replace("\\", "") for o in formulas],
            },
            "rule": {
                "formula": np.array([r[0] for r in rules], np.int32),
                "argnum": np.array([r[1] for r in rules], np.int32),
                "latex": [r[2] for r in rules],
                "text": [r[2].replace("\\", "") for r in rules],
                "shapes": ["" for _ in rules],
            },
            "lamp": {
                "node": np.flatnonzero(lit).astype(np.int32),
                "residual": np.abs(random.normal(0, 1e-9, int(lit.sum()))),
                "guilty": np.zeros(int(lit.sum()), np.uint8),
            },
            "source": {
                "file": ["model.py"],
                "line": np.array([12], np.int32),
                "function": ["forward"],
                "snippet_start": np.array([10], np.int32),
                "snippet": ["def forward(self, x):\n    # <b>one</b> block\n    return self.layer(x)\n"],
            },
        }

    def packed(self, **options: int) -> bytes:
        about = {"title": self.name, "hist_edges": EDGES.tolist(), "model": self.name, "synthetic": True}
        return pack(self.tables(**options), about)


def worked() -> Graph:
    """S: worked example 1, L = v^2 with v = u + y and u = x y."""
    graph = Graph("L = (x y + y)^2")
    x, y = graph.parameter("x"), graph.parameter("y")
    u = graph.op("multiply", x, y)
    v = graph.op("add", u, y)
    loss = graph.op("square", v)
    for node, name, value in zip((x, y, u, v, loss), "xyuvL", (2.0, 3.0, 6.0, 9.0, 81.0), strict=True):
        graph.nodes[node].name, graph.nodes[node].value = name, np.array([[value]])
    return graph


def perceptron(widths: tuple[int, ...] = (784, 256, 256, 10), batch: int = 64) -> Graph:
    """M: an MLP with cross-entropy."""
    graph = Graph("MLP", 1)
    x, labels = graph.input("x", batch, widths[0]), graph.input("labels", batch)
    for i, (inner, outer) in enumerate(pairwise(widths)):
        x = graph.linear(x, inner, outer, f"layers.{i}")
        if i < len(widths) - 2:
            x = graph.op("relu", x)
    with graph.module("cross_entropy", "", 2):
        e = graph.op("exp", graph.op("subtract", x, graph.op("max", x, shape=(batch, 1))))
        total = graph.op("log", graph.op("sum", e, shape=(batch, 1)))
        picked = graph.op("gather", x, labels, shape=(batch, 1))
        graph.op("mean", graph.op("subtract", total, picked), shape=())
    return graph


def residual(stages: tuple[int, ...] = (3, 4, 6, 3), batch: int = 8) -> Graph:
    """R: the shape of ResNet-50."""
    graph = Graph("ResNet", 2)

    def conv(x: int, name: str, c: int, size: int) -> int:
        with graph.module(name, "Conv2d"):
            return graph.op("conv", x, graph.parameter("weight", c, 3, 3), shape=(batch, c, size, size))

    def norm(x: int, name: str, c: int) -> int:
        with graph.module(name, "BatchNorm2d"):
            shape = graph.nodes[x].shape
            centred = graph.op("subtract", x, graph.op("mean", x, shape=(c,)), shape=shape)
            spread = graph.op("sqrt", graph.op("mean", graph.op("square", centred), shape=(c,)))
            y = graph.op("multiply", graph.op("divide", centred, spread), graph.parameter("weight", c), shape=shape)
            return graph.op("add", y, graph.parameter("bias", c), shape=shape)

    x = graph.input("images", batch, 3, 64, 64)
    x = graph.op("relu", norm(conv(x, "conv1", 64, 32), "bn1", 64))
    for s, blocks in enumerate(stages):
        with graph.module(f"layer{s + 1}", "Sequential"):
            for b in range(blocks):
                c, size = 64 << s, 16 >> s
                with graph.module(str(b), "Bottleneck"):
                    y = graph.op("relu", norm(conv(x, "conv1", c, size), "bn1", c))
                    y = graph.op("relu", norm(conv(y, "conv2", c, size), "bn2", c))
                    y = norm(conv(y, "conv3", 4 * c, size), "bn3", 4 * c)
                    if b == 0:
                        x = norm(conv(x, "downsample", 4 * c, size), "norm", 4 * c)
                    x = graph.op("relu", graph.op("add", y, x))
    x = graph.op("mean", x, shape=(batch, 2048))
    x = graph.linear(x, 2048, 1000, "fc")
    with graph.module("cross_entropy", "", 2):
        total = graph.op("log", graph.op("sum", graph.op("exp", x), shape=(batch, 1)))
        graph.op("mean", graph.op("subtract", total, graph.op("gather", x, shape=(batch, 1))), shape=())
    return graph


def transformer(blocks: int = 12, width: int = 64, heads: int = 4, length: int = 32) -> Graph:
    """G: the shape of GPT-2, with tied embeddings."""
    graph = Graph("GPT", 3)
    tokens = graph.input("tokens", length)
    table, places = graph.parameter("wte", 1000, width), graph.parameter("wpe", length, width)
    x = graph.op("gather", table, tokens, shape=(length, width))
    x = graph.op("add", x, places)
    for i in range(blocks):
        with graph.module(f"h.{i}", "Block"):
            a = graph.norm(x, "ln_1")
            with graph.module("attn", "Attention"):
                qkv = graph.linear(a, width, 3 * width, "c_attn")
                q, k, v = (graph.op("slice", qkv, shape=(length, width)) for _ in range(3))
                q, k, v = (graph.op("reshape", t, shape=(heads, length, width // heads)) for t in (q, k, v))
                scores = graph.op("matmul", q, graph.op("permute", k), shape=(heads, length, length))
                scale, mask = graph.constant("scale"), graph.constant("mask", length, length)
                scores = graph.op("where", graph.op("multiply", scores, scale), mask)
                with graph.module("softmax", "", 2):
                    e = graph.op("subtract", scores, graph.op("max", scores, shape=(heads, length, 1)))
                    e = graph.op("exp", e)
                    p = graph.op("divide", e, graph.op("sum", e, shape=(heads, length, 1)))
                y = graph.op("matmul", p, v, shape=(heads, length, width // heads))
                y = graph.op("reshape", y, shape=(length, width))
                y = graph.linear(y, width, width, "c_proj")
            x = graph.op("add", x, y)
            m = graph.norm(x, "ln_2")
            with graph.module("mlp", "MLP"):
                m = graph.linear(m, width, 4 * width, "c_fc")
                with graph.module("gelu", "", 2):
                    inner = graph.op("multiply", m, graph.op("square", m))
                    inner = graph.op("tanh", graph.op("multiply", graph.op("add", m, inner), graph.constant("c")))
                    m = graph.op("multiply", m, graph.op("add", inner, graph.constant("one")))
                m = graph.linear(m, 4 * width, width, "c_proj")
            x = graph.op("add", x, m)
    x = graph.norm(x, "ln_f")
    logits = graph.op("matmul", x, graph.op("permute", table), shape=(length, 1000))
    with graph.module("cross_entropy", "", 2):
        total = graph.op("log", graph.op("sum", graph.op("exp", logits), shape=(length, 1)))
        picked = graph.op("gather", logits, tokens, shape=(length, 1))
        graph.op("mean", graph.op("subtract", total, picked), shape=())
    return graph


def large() -> Graph:
    """X: more than 10,000 nodes."""
    graph = transformer(140, 16, 2, 16)
    graph.name = "X"
    return graph


SHAPES = {"S": worked, "M": perceptron, "R": residual, "G": transformer, "X": large}


def main(folder: str) -> None:
    for name, make in SHAPES.items():
        graph = make()
        packed = graph.packed(thumb=8, exact=16) if name == "X" else graph.packed()
        text = page(packed, title=f"backlit: {graph.name}")
        Path(folder, f"{name}.html").write_text(text, encoding="utf-8")
        print(name, len(graph.nodes), "nodes", f"{len(text) / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
