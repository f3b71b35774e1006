"""Clipped gradients and averaged weights, op by op and compiled; PyTorch's are compared with in the references."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.optim import SGD, swa_utils


def test_clip_by_value_and_bad_arguments():
    cell = bl.tensor(np.zeros(3), requires_grad=True)
    assert nn.utils.clip_grad_norm_([cell], 1.0).item() == 0.0
    cell.grad = bl.tensor([-5.0, 0.5, np.nan])
    with pytest.raises(ValueError, match="nan"):
        nn.utils.clip_grad_norm_(cell, 1.0, error_if_nonfinite=True)
    nn.utils.clip_grad_value_(cell, 2.0)
    np.testing.assert_array_equal(cell.grad.numpy(), [-2.0, 0.5, np.nan])
    with pytest.raises(ValueError, match="clip_value"):
        nn.utils.clip_grad_value_(cell, -1.0)
    with pytest.raises(ValueError, match="norm_type"):
        nn.utils.clip_grad_norm_(cell, 1.0, 0.0)
    with pytest.raises(ValueError, match="decay"):
        swa_utils.get_ema_avg_fn(2.0)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_averaged_weights(decay, compiled, tmp_path):
    model = nn.Linear(2, 3)
    averaged = swa_utils.AveragedModel(model, None if decay is None else swa_utils.get_ema_avg_fn(decay))
    optimizer = SGD(model.parameters(), lr=0.1)

    def step(x):
        optimizer.zero_grad()
        bl.sum(model(x) ** 2).backward()
        optimizer.step()
        averaged.update_parameters(model)

    step, seen = bl.compile(step) if compiled else step, []
    for k in range(6):
        step(bl.tensor(np.full((1, 2), 0.1 * k + 0.1, np.float32)))
        seen.append(np.array(model.weight.detach().numpy(), np.float64))
    expected = seen[0]
    for w in seen[1:]:
        expected = expected if decay is None else decay * expected + (1 - decay) * w
    expected = np.mean(seen, axis=0) if decay is None else expected
    np.testing.assert_allclose(averaged.module.weight.detach().numpy(), expected, rtol=1e-5)
    assert averaged.n_averaged.item() == 6
    bl.save(averaged.state_dict(), tmp_path / "averaged")
    other = swa_utils.AveragedModel(nn.Linear(2, 3))
    other.load_state_dict(bl.load(tmp_path / "averaged"))
    np.testing.assert_array_equal(other.module.weight.detach().numpy(), averaged.module.weight.detach().numpy())
