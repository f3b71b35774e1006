"""Convolution, pooling, padding and resampling layers: first values, sizes, errors; values are compared with recorded ones."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn


@pytest.mark.parametrize("name", [f"Conv{kind}{n}d" for kind in ("", "Transpose") for n in (1, 2, 3)])
def test_first_values_are_uniform_in_pytorchs_range(name):
    layer = getattr(nn, name)(4, 6, 3)
    bound = 1 / np.sqrt(np.prod(layer.weight.shape[1:]))
    for p in layer.parameters():
        assert 0.5 * bound < np.abs(p.detach().numpy()).max() <= bound


def test_sizes_that_are_asked_for():
    x = bl.ones((2, 4, 9, 7))
    layer = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)
    assert layer(x).shape[2:] == (17, 13) and layer(x, [18, 14]).shape[2:] == (18, 14)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=3), "3 groups do not divide 4 and 6 channels"),
        (lambda: nn.Conv2d(4, 6, 3, padding="full"), "'full'"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="edge"), "padding_mode"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, padding_mode="reflect"), "padding_mode must be 'zeros'"),
        (lambda: nn.ConvTranspose1d(4, 3, 3, stride=2)(bl.ones((1, 4, 3)), [20]), "output_size [20] is not possible"),
        (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d: expected 4 numbers"),
        (lambda: nn.functional.pad(np.ones(3), (1, 2, 3, 4)), "at most 1 axes"),
        (lambda: nn.functional.pad(np.ones(3), (1, 2), "edge"), "'edge'"),
        (lambda: nn.functional.pad(np.ones(3), (1, 2), "reflect", 1.0), "takes no value"),
    ],
)
def test_errors(call, said):
    with pytest.raises(bl.BacklitError) as caught:
        call()
    assert said in str(caught.value)
