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
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_averaged_weights(decay, many, compiled, tmp_path):
    model = nn.Linear(2, 3)
    kind = "multi_avg_fn" if many else "avg_fn"
    make = getattr(swa_utils, f"get_{'swa' if decay is None else 'ema'}_{kind}")
    averaged = swa_utils.AveragedModel(model, **{kind: make() if decay is None else make(decay)})
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
    assert not compiled or step.reasons == []
    bl.save(averaged.state_dict(), tmp_path / "averaged")
    other = swa_utils.AveragedModel(nn.Linear(2, 3))
    other.load_state_dict(bl.load(tmp_path / "averaged"))
    np.testing.assert_array_equal(other.module.weight.detach().numpy(), averaged.module.weight.detach().numpy())


def network(m):
    return m.Sequential(
        m.Conv1d(2, 3, 2), m.BatchNorm1d(3), m.Dropout(0.0), m.Flatten(), m.Linear(9, 2), m.BatchNorm1d(2, momentum=0.3)
    )


@pytest.mark.parametrize("batches", ["arrays", "pairs"])
def test_moments_of_batch_normalisation_are_taken_anew(batches):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    own, other = network(nn), network(torch.nn)
    other.load_state_dict({name: torch.tensor(np.array(value)) for name, value in own.state_dict().items()})
    data = np.random.default_rng(0).standard_normal((5, 6, 2, 4)).astype(np.float32)
    own[0].eval()
    own(bl.tensor(data[0]))  # moments of other weights, which do not count
    before = [p.tolist() for p in own.parameters()]
    swa_utils.update_bn([(bl.tensor(x), 1) if batches == "pairs" else bl.tensor(x) for x in data], own)
    torch.optim.swa_utils.update_bn([torch.tensor(x) for x in data], other)
    for name, value in other.state_dict().items():
        np.testing.assert_allclose(np.array(own.state_dict()[name]), value.numpy(), rtol=1e-5, atol=1e-6)
    assert [own[1].momentum, own[5].momentum] == [0.1, 0.3] and [p.tolist() for p in own.parameters()] == before
    assert own.training and not own[0].training and all(p.grad is None for p in own.parameters())

    def broken():
        yield bl.tensor(data[0])
        raise KeyError

    with pytest.raises(KeyError):
        swa_utils.update_bn(broken(), own)
    assert own[1].momentum == 0.1 and not own[0].training
    swa_utils.update_bn(broken(), nn.Linear(2, 2))  # nothing to be done


def test_what_is_refused():
    model = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="not both"):
        swa_utils.AveragedModel(model, avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=swa_utils.get_swa_multi_avg_fn())
    with pytest.raises(ValueError, match="decay"):
        swa_utils.get_ema_multi_avg_fn(-0.1)
    optimizer = SGD(model.parameters())
    for arguments, named in (
        ({"swa_lr": [0.1, 0.2]}, "expected 1 of swa_lr"),
        ({"swa_lr": 0.1, "anneal_epochs": -1}, "anneal_epochs"),
        ({"swa_lr": 0.1, "anneal_strategy": "up"}, "anneal_strategy"),
    ):
        with pytest.raises(ValueError, match=named):
            swa_utils.SWALR(optimizer, **arguments)


@pytest.mark.parametrize(
    "settings",
    [
        {"anneal_epochs": 7},
        {"swa_lr": [0.5, 0.2], "anneal_epochs": 9, "anneal_strategy": "linear"},
        {"anneal_epochs": 0},
    ],
    ids=str,
)
def test_the_rate_of_the_averages_is_that_of_pytorch(settings):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    settings, traces = {"swa_lr": 0.02, **settings}, []
    for library, cells in ((torch, [torch.ones(2) for _ in range(2)]), (bl, [bl.tensor(np.ones(2)) for _ in range(2)])):
        optimizer = library.optim.SGD([{"params": [cells[0]]}, {"params": [cells[1]], "lr": 0.04}], lr=0.1)
        before = library.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        optimizer.step()
        for _ in range(5):
            before.step()
        after = library.optim.swa_utils.SWALR(optimizer, **settings)
        trace = []
        for _ in range(20):
            trace.append(after.get_last_lr())
            after.step()
        traces.append(trace)
    np.testing.assert_allclose(traces[1], traces[0], rtol=1e-12)
    assert traces[0][-1][0] == np.ravel(settings["swa_lr"])[0]
