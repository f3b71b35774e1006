"""What checkpoints compute again, against what the engine does when nobody records."""

from __future__ import annotations

import numpy as np
import pytest

import backlit as bl
from backlit import nn
from backlit.autodiff import masks, tape
from backlit.autodiff.walk import Pick
from backlit.diagnose.balance import balance
from backlit.diagnose.provenance import provenance
from backlit.diagnose.recording import FREE, RECOMPUTE, SAVE

DEPTH = 6
X = bl.tensor(np.random.default_rng(0).standard_normal((4, 8)))


def layers():
    bl.random.seed(1)
    return [nn.Linear(8, 8, dtype=np.float64) for _ in range(DEPTH)]


def run(parts, every, inside=None):
    """A residual net, of which `every` blocks are one checkpoint; `inside` as many again in it."""

    def blocks(begin, stop, size):
        def f(h):
            for k in range(begin, stop):
                h = h + bl.tanh(parts[k](h)) * 0.5
            return h

        def nested(h):
            for k in range(begin, stop, size):
                h = bl.checkpoint(blocks(k, min(k + size, stop), None))(h)
            return h

        return f if size is None else nested

    h = X
    for k in range(0, DEPTH, every or DEPTH):
        f = blocks(k, k + (every or DEPTH), inside)
        h = bl.checkpoint(f)(h) if every else f(h)
    return (h * h).sum()


def memory(arrays, without):
    """The owners of arrays, by address, but for those that count elsewhere."""
    found = {}
    for x in arrays:
        while isinstance(x, bl.Tensor):
            value = x._value
            x = value if isinstance(value, (np.ndarray, np.generic)) else value.primal
        if isinstance(x, np.ndarray):
            while isinstance(x.base, np.ndarray):
                x = x.base
            if id(x) not in without:
                found[id(x)] = x
    return found


def kept_behind(roots, without):
    """What the nodes behind some nodes keep for their rules."""
    arrays, waiting, seen = [], list(roots), set()
    while waiting:
        node = waiting.pop()
        if node.id in seen or node.plan is None:
            continue
        seen.add(node.id)
        if isinstance(node.op, Pick):
            arrays += node.up.op.kept()
            waiting.append(node.up)
            continue
        arrays += [*node.inputs, node.out]
        waiting.extend(p for p in node.parents if p is not None)
    return memory(arrays, without)


@pytest.mark.parametrize(("every", "inside"), [(None, None), (1, None), (2, None), (3, None), (6, None), (6, 2)])
def test_bytes_and_counts_are_those_of_a_run_that_nobody_records(monkeypatch, every, inside):
    parts = layers()
    theirs = memory([p for part in parts for p in part.parameters()], {})
    applied, inner = [], []
    real_bind, real_walk = tape.bind, masks.walk

    def bind(*args):
        applied.append(args[0].name)
        return real_bind(*args)

    def walk(seeds, *rest, **options):
        inner.append(sum(x.nbytes for x in kept_behind(seeds, held | theirs).values()))
        return real_walk(seeds, *rest, **options)

    loss = run(parts, every, inside)
    held = kept_behind([loss.node], theirs)
    outside = sum(x.nbytes for x in held.values())
    with monkeypatch.context() as patch:
        patch.setattr(tape, "bind", bind)
        patch.setattr(masks, "walk", walk)
        loss.backward()
    with bl.record() as recording:
        run(parts, every, inside).backward()
    again = [e for e in recording.events if e.kind is RECOMPUTE]
    assert len(again) == sum(found.count for found in recording.recomputed) == len(applied)
    assert bool(again) == bool(every)
    assert sum(e.bytes for e in again) == sum(found.n_bytes for found in recording.recomputed)
    if inside is None:
        assert [found.kept for found in recording.recomputed] == inner
        assert recording.peak_bytes == outside + max(inner, default=0)
    else:
        assert recording.peak_bytes >= outside + max(inner)
    assert recording.kept_bytes()[-1] == 0
    for found in recording.recomputed:
        events = recording.events[found.from_event : found.to_event + 1]
        assert {e.node for e in events} == {found.node}
        assert sum(e.bytes for e in events if e.kind is SAVE) == found.kept
        assert sum(e.bytes for e in events if e.kind is FREE) == found.kept
        assert recording.events[found.node.vjp_event].ns > found.ns > 0


def test_less_is_kept_and_the_gradients_have_the_same_bits():
    peaks, gradients = [], []
    for every in (None, 2):
        parts = layers()
        with bl.record() as recording:
            run(parts, every).backward()
        peaks.append(recording.peak_bytes)
        gradients.append(parts[0].weight.grad.numpy())
    assert peaks[1] < peaks[0]
    assert np.array_equal(*gradients)


def test_a_checkpoint_is_diagnosed_and_read_again(tmp_path):
    parts = layers()
    with bl.record() as recording:
        run(parts, 2).backward()
    found = balance(recording)
    assert found.guilty == [] and all(node.checked for node in found.nodes)
    weight = next(n for n in recording.nodes if n.kind == "parameter" and n.shape == (8, 8))
    assert provenance(recording, weight).residual < 1e-12
    recording.save(tmp_path / "x.blt")
    read = bl.load_recording(tmp_path / "x.blt")
    for ours, theirs in zip(read.recomputed, recording.recomputed, strict=True):
        assert ours.node.name == theirs.node.name
        for field in ("from_event", "to_event", "count", "n_bytes", "kept", "ns"):
            assert getattr(ours, field) == getattr(theirs, field)
    assert read.peak_bytes == recording.peak_bytes


def test_of_statistics_nothing_is_written_of_it():
    parts = layers()
    with bl.record(statistics=True) as recording:
        run(parts, 2).backward()
    assert recording.recomputed == [] and RECOMPUTE not in {e.kind for e in recording.events}
    assert all(e.ns > 0 for e in recording.events if e.kind.name in ("FORWARD", "VJP") and e.node.op.name != "f")
