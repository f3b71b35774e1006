"""What updates did to the loss, against the user's own program run again with the new parameters."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim
from backlit.core.errors import ArgumentError
from backlit.diagnose.effects import effect
from backlit.nn.functional import cross_entropy, dropout, max_pool2d

X = np.random.default_rng(0).standard_normal((6, 1, 6, 6))
LABELS = np.arange(6) % 3


class Net(nn.Module):
    """A convolution, maxima whose places change with the weights, and noise that stays."""

    def __init__(self, dtype):
        super().__init__()
        generator = np.random.default_rng(1)
        self.kernel = nn.Parameter(generator.standard_normal((4, 1, 3, 3)).astype(dtype))
        self.head = nn.Linear(16, 3, dtype=dtype)

    def forward(self, x):
        h = max_pool2d(nn.functional.relu(nn.functional.conv2d(x, self.kernel)), 2)
        return self.head(dropout(h.reshape(h.shape[0], -1), 0.4))


def trained(dtype=np.float64, steps=1, make=lambda p: optim.SGD(p, lr=0.5, momentum=0.9), f=cross_entropy):
    """A recorded run, and the loss as a function of the parameters with the noise of the last step."""
    model, x = Net(dtype), bl.tensor(X.astype(dtype))
    optimizer = make(model.parameters())
    bl.random.seed(7)
    with bl.record() as recording:
        for _ in range(steps):
            optimizer.zero_grad()
            f(model(x), bl.tensor(LABELS)).backward()
            optimizer.step()
    return recording, model, x


def loss_with(model, x, values, f=cross_entropy):
    """The loss of the first step's noise, in double precision."""
    wide = Net(np.float64)
    for parameter, value in zip(wide.parameters(), values, strict=True):
        parameter._value = np.asarray(value, np.float64)
    bl.random.seed(7)
    with bl.no_grad():
        return float(f(wide(bl.tensor(np.asarray(x.numpy(), np.float64))), bl.tensor(LABELS)).item())


def test_the_actual_change_is_that_of_the_program():
    recording, model, x = trained()
    found = effect(recording)
    updates = recording.updates
    old, new = [u.before for u in updates], [u.after for u in updates]
    assert found.before == pytest.approx(loss_with(model, x, old), rel=1e-13)
    assert found.before == pytest.approx(recording.steps[0].loss, rel=1e-13)
    assert found.after == pytest.approx(loss_with(model, x, new), rel=1e-13)
    for k, u in enumerate(updates):
        alone = [new[i] if i == k else old[i] for i in range(len(old))]
        assert found.each[u] == pytest.approx(loss_with(model, x, alone) - found.before, rel=1e-9, abs=1e-13)
    assert found.predicted == pytest.approx(sum(np.vdot(u.gradient, u.after - u.before) for u in updates))
    assert found.actual == found.after - found.before
    assert effect(recording, each=False).each == {}


def test_small_steps_do_what_the_gradient_foretells_even_in_single_precision():
    recording, *_ = trained(np.float32, make=lambda p: optim.SGD(p, lr=1e-6))
    found = effect(recording)
    assert found.actual == pytest.approx(found.predicted, rel=1e-4)  # a change of 1e-5 of the loss
    assert sum(found.each.values()) == pytest.approx(found.actual, rel=1e-4)
    assert -1e-4 < found.actual < 0


def test_every_step_can_be_asked_for():
    recording, *_ = trained(steps=3)
    losses = [effect(recording, step, each=False) for step in range(3)]
    assert [found.before for found in losses] == pytest.approx([s.loss for s in recording.steps], rel=1e-12)


def test_an_array_counts_by_its_cotangent():
    w = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    with bl.record() as recording:
        (w * w).backward(bl.tensor(np.array([3.0, -1.0])))
        optimizer.step()
    after = w.numpy()
    found = effect(recording)
    assert found.before == 3.0 - 4.0
    assert found.after == pytest.approx(3 * after[0] ** 2 - after[1] ** 2)


def test_settings_and_state_of_the_optimizer_stand_with_each_update():
    recording, *_ = trained(steps=2, make=lambda p: optim.AdamW(p, lr=0.01, betas=(0.8, 0.9)))
    first, last = recording.updates[0], recording.updates[-1]
    assert last.settings["lr"] == 0.01 and last.settings["betas[0]"] == 0.8 and last.settings["eps"] == 1e-8
    assert last.state["step"] == 2 and first.state["step"] == 1
    np.testing.assert_allclose(first.state["exp_avg"], 0.2 * first.gradient, rtol=1e-12)
    assert last.state["exp_avg_sq"].shape == last.node.shape


def test_what_is_not_known_is_said(tmp_path):
    recording, *_ = trained()
    with pytest.raises(ArgumentError, match="no step 3"):
        effect(recording, 3)
    recording.save(tmp_path / "x.blt")
    with pytest.raises(ArgumentError, match="read from a file"):
        effect(bl.load_recording(tmp_path / "x.blt"))
    w = bl.tensor(np.ones(2), requires_grad=True)
    with bl.record() as still:
        (w * w).sum().backward()
    with pytest.raises(ArgumentError, match="no optimizer stepped"):
        effect(still)
