"""Recordings of real runs, of the shapes the page is judged by: a merge, a perceptron, a transformer, deep and broken nets."""

from __future__ import annotations

import itertools

import numpy as np

import backlit
from backlit import nn
from backlit.functional import cross_entropy, gelu, softmax


def merge():
    """S: y meets itself. u = x y, v = u + y, L = v^2 at x = 2, y = 3."""
    x, y = backlit.tensor(2.0, requires_grad=True), backlit.tensor(3.0, requires_grad=True)
    with backlit.record() as recording:
        u = x * y
        v = u + y
        L = v**2
        L.backward()
    return recording


def perceptron(widths=(784, 256, 256, 10), batch=64, steps=1):
    """M: a network of linear layers and ReLU on noise."""
    backlit.random.seed(0)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    random = np.random.default_rng(0)
    images = backlit.tensor(random.standard_normal((batch, widths[0])).astype("f4"))
    labels = backlit.tensor(random.integers(0, widths[-1], batch))
    optimizer = backlit.optim.SGD(model.parameters(), lr=0.1)
    with backlit.record() as recording:
        for _ in range(steps):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            if steps > 1:
                optimizer.step()
    return recording


class LayerNorm(nn.Module):
    """Normalises the last axis."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(np.ones(width, "f4"))
        self.bias = nn.Parameter(np.zeros(width, "f4"))

    def forward(self, x):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / ((centred * centred).mean(axis=-1, keepdims=True) + 1e-5).sqrt() * self.weight + self.bias


class Attention(nn.Module):
    """Causal self-attention with several heads."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x):
        length, width = x.shape
        heads = self.c_attn(x).reshape(length, 3, self.heads, width // self.heads)
        q, k, v = (backlit.permute_dims(heads[:, i], (1, 0, 2)) for i in range(3))
        scores = q @ backlit.permute_dims(k, (0, 2, 1)) * (width // self.heads) ** -0.5
        mask = np.where(np.tri(length, dtype=bool), 0, -1e9).astype("f4")
        mixed = softmax(scores + backlit.tensor(mask), axis=-1) @ v
        return self.c_proj(backlit.permute_dims(mixed, (1, 0, 2)).reshape(length, width))


class Block(nn.Module):
    """One layer of a transformer: two residual branches."""

    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.attn = LayerNorm(width), Attention(width, heads)
        self.ln_2, self.c_fc, self.c_proj = LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(gelu(self.c_fc(self.ln_2(x))))


class Transformer(nn.Module):
    """A language model of the shape of GPT-2, narrow."""

    def __init__(self, blocks, width, heads, words, length):
        super().__init__()
        random = np.random.default_rng(0)
        self.wte = nn.Parameter(random.standard_normal((words, width)).astype("f4") * 0.1)
        self.wpe = nn.Parameter(random.standard_normal((length, width)).astype("f4") * 0.1)
        self.h = nn.Sequential(*[Block(width, heads) for _ in range(blocks)])
        self.ln_f = LayerNorm(width)

    def forward(self, tokens):
        x = self.wte[tokens] + self.wpe
        return self.ln_f(self.h(x)) @ backlit.permute_dims(self.wte, (1, 0))


def transformer(blocks=12, width=48, heads=4, words=50, length=16):
    """G: every op of a transformer of 12 blocks."""
    backlit.random.seed(0)
    model = Transformer(blocks, width, heads, words, length)
    tokens = np.random.default_rng(1).integers(0, words, length + 1)
    with backlit.record() as recording:
        cross_entropy(model(tokens[:-1]), backlit.tensor(tokens[1:])).backward()
    return recording


def deep(layers=24, width=16, scale=0.3):
    """A chain of tanh layers in which gradients vanish."""
    random = np.random.default_rng(0)
    backlit.random.seed(0)
    model = nn.Sequential(*[m for _ in range(layers) for m in (nn.Linear(width, width), nn.Tanh())])
    for parameter in model.parameters():
        if parameter.ndim == 2:
            with backlit.no_grad():
                parameter[...] = random.standard_normal((width, width)).astype("f4") * scale / 2
    data = backlit.tensor(random.standard_normal((4, width)).astype("f4"))
    with backlit.record() as recording:
        (model(data) ** 2).mean().backward()
    return recording
