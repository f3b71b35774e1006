"""Gradients through layers: gains that multiply, bands, their culprits; dead and saturated units; the first bad number."""

import math

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.core.errors import ArgumentError
from backlit.diagnose.bands import Bands
from backlit.diagnose.flow import flow
from backlit.diagnose.nonfinite import not_finite


def chain(scale, depth=12, width=20, activation=nn.Tanh, rows=32, seed=0):
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(depth):
        linear = nn.Linear(width, width, dtype=np.float64)
        with bl.no_grad():
            linear.weight[...] = rng.standard_normal((width, width)) * scale / math.sqrt(width)
        layers += [linear, activation()]
    model = nn.Sequential(*layers, nn.Linear(width, 3, dtype=np.float64))
    with bl.record() as recording:
        loss = nn.functional.cross_entropy(model(rng.standard_normal((rows, width))), rng.integers(0, 3, rows))
        loss.backward()
    return recording


def test_gains_multiply_to_the_product():
    recording = chain(1.0)
    found = flow(recording)
    assert [layer.name for layer in found.layers] == [str(2 * k) for k in range(13)]
    for k, layer in enumerate(found.layers):
        assert layer.delta_norm == pytest.approx(np.linalg.norm(layer.node.cotangent))
        assert layer.product == pytest.approx(math.prod(other.gain for other in found.layers[k:]), rel=1e-9)
        assert layer.product == pytest.approx(layer.delta_norm / found.layers[-1].delta_norm)
        assert layer.value_rms == pytest.approx(np.sqrt(np.mean(layer.node.value**2)))
    expected = math.hypot(*(np.linalg.norm(recording[name].cotangent) for name in ("0/weight", "0/bias")))
    assert found.layers[0].grad_norm == pytest.approx(expected)
    assert all(layer.band == 0 for layer in found.layers[-3:]) and found.layers[-1].culprits == ()


def test_a_vanishing_gradient_is_blamed_on_small_weights():
    found = flow(chain(0.05))
    bands = [layer.band for layer in found.layers]
    assert bands[0] == 2 and bands[-1] == 0 and sorted(bands, reverse=True) == bands
    first = found.layers[0].culprits[0]
    assert (
        first.what.startswith("sizes of weights")
        and "weight with norm/sqrt(rows) 0.04" in first.what
        and first.factor < 1e-10
    )
    assert flow(chain(0.05), bands=Bands(amber=100, red=200)).layers[0].band == 0


def test_a_vanishing_gradient_is_blamed_on_saturated_activations():
    found = flow(chain(20.0, depth=8))
    saturated = [a for a in found.activations if a.node.op.name == "tanh"]
    assert len(saturated) == 8 and all(a.saturated > 0.6 for a in saturated)
    recording = chain(3.0, depth=30, activation=nn.Sigmoid)
    first = flow(recording).layers[0]
    assert first.band > 0 and first.culprits[0].what.startswith("slopes of sigmoid") and first.culprits[0].factor < 1e-3
    assert "at most 0.25 each" in first.culprits[0].what
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(5, 5, dtype=np.float64), nn.Tanh(), nn.Linear(5, 1, dtype=np.float64))
    with bl.record() as recording:
        model(rng.standard_normal((9, 5)) * 300).sum().backward()
    first = flow(recording, bands=Bands(amber=0.0)).layers[0]
    assert first.product < 1 and "slopes of tanh" in first.culprits[0].what and "% saturated" in first.culprits[0].what


def test_an_exploding_gradient_is_blamed_on_large_weights():
    found = flow(chain(30.0, depth=6, activation=nn.ReLU)).layers[0]
    assert found.product > 1e3 and found.band >= 1
    assert found.culprits[0].what.startswith("sizes of weights") and found.culprits[0].factor > 1e3


def test_the_factors_of_all_culprits_and_their_opposites_make_the_product():
    recording = chain(0.05)
    found = flow(recording)
    total = math.prod(c.factor for c in found.layers[0].culprits)
    # all factors of a plain chain go down here: weights and slopes
    assert total == pytest.approx(found.layers[0].product, rel=1e-6)


def test_residual_connections_keep_the_gradient():
    rng = np.random.default_rng(0)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(20, 20, dtype=np.float64)

        def forward(self, x):
            return x + bl.tanh(self.inner(x)) * 0.1

    model = nn.Sequential(*(Block() for _ in range(30)), nn.Linear(20, 3, dtype=np.float64))
    with bl.record() as recording:
        nn.functional.cross_entropy(model(rng.standard_normal((8, 20))), rng.integers(0, 3, 8)).backward()
    found = flow(recording)
    assert len(found.layers) == 31 and all(layer.band < 2 for layer in found.layers)


def test_dead_units_and_zeros_are_counted():
    rng = np.random.default_rng(0)
    with bl.record() as recording:
        x = bl.tensor(rng.standard_normal((50, 4)), requires_grad=True)
        nn.functional.relu(x + np.array([-100.0, 100.0, 0.0, 0.0])).sum().backward()
    (found,) = flow(recording).activations
    zeros = np.mean(recording["maximum#0"].value == 0)
    assert found.dead == 0.25 and found.zero == pytest.approx(zeros) and math.isnan(found.saturated)


def test_updates_are_held_against_what_they_update():
    model = nn.Linear(3, 2, dtype=np.float64)
    optimizer = bl.optim.SGD(model.parameters(), lr=1e-3)
    with bl.record() as recording:
        for _ in range(2):
            optimizer.zero_grad()
            (model(np.ones((4, 3))) ** 2).sum().backward()
            optimizer.step()
    found = flow(recording).updates
    assert [u.node.name for u in found] == ["weight", "bias"] and all(u.step == 1 for u in found)
    update = recording.steps[1].updates[0]
    ratio = np.linalg.norm(update.after - update.before) / np.linalg.norm(update.before)
    assert found[0].ratio == pytest.approx(ratio) and found[0].band == (0 if 1e-4 <= ratio <= 1e-2 else 1)
    assert flow(recording, step=0).updates[0].step == 0
    with pytest.raises(ArgumentError, match="there is no step 2; there are 2"):
        flow(recording, step=2)


def test_functions_without_modules_have_layers_too():
    rng = np.random.default_rng(0)
    with bl.record() as recording:
        w1, w2 = (bl.tensor(rng.standard_normal((4, 4)), requires_grad=True) for _ in range(2))
        ((bl.tanh(rng.standard_normal((3, 4)) @ w1) @ w2) ** 2).sum().backward()
    found = flow(recording)
    assert len(found.layers) == 2
    assert found.layers[0].gain == pytest.approx(found.layers[0].delta_norm / found.layers[1].delta_norm)


def test_the_first_bad_value_leads_to_its_cause():
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, -2.0, 3.0]), requires_grad=True)
        y = bl.log(x * 2.0)
        (y * 3.0 + 1.0).sum().backward()
    found = not_finite(recording)
    assert recording.events[found.event].node.op.name == "log"
    assert found.cause.node.op.name == "log" and found.cause.element == (1,)
    assert found.cause.text == "log of -4 is nan"


def test_a_bad_gradient_leads_to_the_rule_that_has_none():
    with bl.record() as recording:
        x = bl.tensor(np.array([4.0, 0.0]), requires_grad=True)
        (bl.sqrt(x) * 3.0).sum().backward()
    found = not_finite(recording)
    assert found.way[0].which == "contribution" and found.way[0].contribution.child.op.name == "sqrt"
    assert found.cause.node.op.name == "sqrt" and found.cause.text == "sqrt has no finite derivative at 0; 3 arrived"
    assert found.cause.element == (1,)


def test_given_values_that_are_bad_and_recordings_that_are_not():
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, np.nan]), requires_grad=True)
        (x * 2.0).sum().backward()
    found = not_finite(recording)
    assert found.cause.node.kind == "parameter" and found.cause.text == "it was given as nan"
    assert [link.node.op.name if link.node.op else link.node.name for link in found.way][:1] == ["mul"]
    assert not_finite(chain(1.0)) is None
    with bl.record() as recording:
        x = bl.tensor(np.array([1e200]), requires_grad=True)
        (x * x).sum().backward()
    assert not_finite(recording).cause.text == "mul of 1e+200 and 1e+200 is inf"


def test_a_recording_of_statistics_has_the_same_flow():
    def run(**options):
        bl.random.seed(0)
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3))
        optimizer = bl.optim.SGD(net.parameters(), lr=0.1)
        x = bl.tensor(np.random.default_rng(0).standard_normal((10, 6)).astype("f4"))
        with bl.record(**options) as recording:
            for _ in range(3):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), np.arange(10) % 3).backward()
                optimizer.step()
        return recording

    full, summed = run(), run(statistics=True)
    for step in range(3):
        ours, theirs = flow(summed, step), flow(full, step)
        assert len(ours.layers) == len(theirs.layers) == 3 and ours.activations == ()
        for a, b in zip(ours.layers, theirs.layers, strict=True):
            assert (a.name, a.band, a.culprits) == (b.name, b.band, ())
            for field in ("value_rms", "delta_norm", "grad_norm", "gain", "product"):
                assert getattr(a, field) == pytest.approx(getattr(b, field), rel=1e-5)
        for a, b in zip(ours.updates, theirs.updates, strict=True):
            assert (a.node.name, a.step, a.band) == (b.node.name, b.step, b.band)
            assert a.ratio == pytest.approx(b.ratio, rel=1e-5)


def test_bands_begin_beyond_their_limits():
    bands = Bands(amber=2, red=4, dead=0.1, saturated=0.5, least_update=1e-3, most_update=1e-1)
    assert [bands.of_powers(p) for p in (0, 2, 2.1, 4, 4.1, math.inf)] == [0, 0, 1, 1, 2, 2]
    assert [bands.of_unit(dead, math.nan) for dead in (0, 0.1, 0.2)] == [0, 0, 1]
    assert [bands.of_unit(math.nan, flat) for flat in (0.5, 0.6)] == [0, 1]
    ratios = [0, 9e-5, 2e-4, 1e-3, 1e-2, 1e-1, 0.5, 1.1, math.inf, math.nan]
    assert [bands.of_update(ratio) for ratio in ratios] == [2, 2, 1, 0, 0, 0, 1, 2, 2, 2]


def test_units_and_updates_follow_the_bands():
    rng = np.random.default_rng(0)
    weight = bl.tensor(rng.standard_normal((4, 4)), requires_grad=True)
    optimizer = bl.optim.SGD([weight], lr=1e-3)
    with bl.record() as recording:
        bl.tanh(nn.functional.relu(rng.standard_normal((30, 4)) @ weight - np.array([100.0, 0, 0, 0]))).sum().backward()
        optimizer.step()
    found = flow(recording)
    relu, tanh = found.activations
    assert relu.dead == 0.25 and relu.band == 1 and 0 < tanh.saturated < 0.3 and tanh.band == 0
    ratio = found.updates[0].ratio
    strict = Bands(dead=0.25, saturated=tanh.saturated / 2, least_update=ratio * 2, most_update=1.0)
    found = flow(recording, bands=strict)
    assert [unit.band for unit in found.activations] == [0, 1] and found.updates[0].band == 1
    assert flow(recording, bands=Bands(least_update=ratio * 11, most_update=10)).updates[0].band == 2


@pytest.mark.parametrize(
    "limits",
    [{"amber": 7.0}, {"red": -1}, {"dead": math.nan}, {"saturated": "much"}, {"least_update": 1.0}, {"red": math.inf},
     {"amber": True}],
)  # fmt: skip
def test_limits_that_make_no_band_are_refused(limits):
    with pytest.raises(ArgumentError, match=next(iter(limits))):
        Bands(**limits)
