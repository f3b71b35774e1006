"""Paths of a gradient: how many, the heaviest, all of them; the split by residual branches; the tree of contributions."""

import itertools
import math

import numpy as np
import pytest
from test_provenance import residual_network

import backlit as bl
from backlit.core.errors import ArgumentError
from backlit.diagnose.expressed import record_expression
from backlit.diagnose.graded import graded, residual_sums
from backlit.diagnose.paths import paths
from backlit.diagnose.provenance import provenance
from backlit.diagnose.tree import ContributionTree


def test_the_paths_of_the_worked_example():
    recording = record_expression("u = x*y; v = u + y; L = v**2", {"x": 4, "y": 3})
    found = paths(recording, "y")
    assert found.count == 2 and found.exact
    assert [[n.name for n in p.nodes] for p in found.listed] == [["L", "v", "u", "y"], ["L", "v", "y"]]
    assert [p.weight for p in found.listed] == [120, 30] and sum(p.weight for p in found.listed) == recording[
        "y"
    ].cotangent
    assert found.heaviest.weight == 120 and [n.name for n in found.heaviest.nodes] == ["L", "v", "u", "y"]
    p = np.array([0.8, 0.2])
    assert found.entropy == pytest.approx(-np.sum(p * np.log(p)))
    assert paths(recording, "x").count == 1 and paths(recording, "x").entropy == 0
    assert paths(recording, "L").heaviest.nodes == (recording["L"],)


def test_counts_are_exact_however_many_paths_there_are():
    with bl.record() as recording:
        x = bl.tensor(1.01, requires_grad=True)
        y = x
        for _ in range(200):
            y = y * 0.4 + y * 0.6
        y.backward()
    target = recording.nodes[0]
    found = paths(recording, target)
    assert found.count == 2**200 and found.listed is None
    one = -0.4 * math.log(0.4) - 0.6 * math.log(0.6)
    assert found.entropy == pytest.approx(200 * one, rel=1e-6)


def test_the_list_of_a_scalar_graph_adds_up_to_the_gradient():
    rng = np.random.default_rng(0)
    for _ in range(20):
        names = ["x", "y"]
        lines = []
        for k in range(6):
            a, b = rng.choice(names, 2)
            lines.append(f"a{k} = {a} {rng.choice(['*', '+', '-'])} {b}")
            names.append(f"a{k}")
        recording = record_expression(
            "; ".join([*lines, "out = " + " + ".join(names[-3:] + ["x*y"])]), {"x": 1.5, "y": -0.7}
        )
        for name in ("x", "y"):
            if recording[name].cotangent is None:
                continue
            found = paths(recording, name)
            assert len(found.listed) == found.count and found.exact
            assert sum(p.weight for p in found.listed) == pytest.approx(
                float(recording[name].cotangent), rel=1e-12, abs=1e-12
            )
            assert abs(found.heaviest.weight) == pytest.approx(max(abs(p.weight) for p in found.listed))
            weights = np.array([abs(p.weight) for p in found.listed])
            p = weights[weights > 0] / weights.sum()
            assert found.entropy == pytest.approx(-np.sum(p * np.log(p)), abs=1e-9)


def test_paths_of_arrays_are_weighed_by_norms_and_said_so():
    recording = residual_network(np.float64, blocks=3)
    found = paths(recording, "0/weight")
    assert found.count == 2**3 and not found.exact and len(found.listed) == 8
    product = math.prod(
        np.linalg.norm(next(c.value for c in n.contributions if c.child is child)) / np.linalg.norm(child.cotangent)
        for child, n in itertools.pairwise(found.heaviest.nodes)
    )
    assert found.heaviest.weight == pytest.approx(product)
    with pytest.raises(ArgumentError, match="no node"):
        paths(recording, "nothing")


def test_residual_sums_are_found():
    recording = residual_network(np.float64, blocks=3)
    assert [n.name for n in residual_sums(recording)] == ["1/add#0", "2/add#0", "3/add#0"]
    assert all(argnum == 1 for argnum in residual_sums(recording).values())


def test_the_split_by_branches_adds_up_and_is_that_of_the_paths():
    recording = residual_network(np.float64, blocks=4)
    target = recording["0/weight"]
    found = graded(recording, target)
    assert len(found.parts) == 5 and len(found.blocks) == 4
    np.testing.assert_allclose(sum(found.parts), target.cotangent, rtol=1e-12, atol=1e-15)
    assert sum(found.shares) == pytest.approx(1, abs=1e-12)
    # without any branch: only the identities of the blocks lie between first and last layer
    last = recording["5/linear/matmul#0"]
    through = next(c.value for c in recording["4/add#0"].contributions)
    x = recording["0/linear/matmul#0"].args[0].value
    assert last.args[0] is recording["4/add#0"]
    np.testing.assert_allclose(found.parts[0], through.T @ x, rtol=1e-12)


def test_the_split_of_one_block_is_that_of_its_two_paths():
    recording = record_expression("r = W @ x; f = tanh(r); h = x + f; L = sum(u*h)", {
        "W": [[0.5, -1], [1, 0.25]], "x": [[1], [-0.5]], "u": [[2], [-1]],
    })  # fmt: skip
    found = graded(recording, "x")
    u, f, W = (recording[n].value for n in "ufW")
    np.testing.assert_array_equal(found.parts[0], u)
    np.testing.assert_allclose(found.parts[1], W.T @ (u * (1 - f * f)), rtol=1e-14)
    with pytest.raises(ArgumentError, match="at most 3 are told apart"):
        graded(residual_network(np.float64, blocks=4), "0/weight", most=3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_level_of_the_tree_adds_up_to_its_row(dtype):
    recording = residual_network(dtype, blocks=3)
    tree = ContributionTree(recording, "0/weight", most=3)
    shares = provenance(recording, "0/weight")
    of_edge = {id(c): s for _, c, s in shares.shares}
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-6}
    ahead, leaves, first = [tree.root], [], True
    while ahead:
        row = ahead.pop()
        rows = tree.open(row)
        if rows:
            np.testing.assert_allclose(sum(r.value for r in rows), row.value, **tolerance)
            assert sum(r.share for r in rows) == pytest.approx(row.share, abs=1e-9 if dtype == np.float64 else 1e-4)
            if first:
                assert all(r.share == pytest.approx(of_edge[id(r.way[-1])], abs=1e-4) for r in rows if not r.rest)
                first = False
            ahead.extend(rows)
        else:
            leaves.append(row)
    assert len(leaves) == 2**3 and sum(r.share for r in leaves) == pytest.approx(1, abs=1e-4)


def test_many_rows_leave_a_rest():
    with bl.record() as recording:
        x = bl.tensor(np.array([1.0, 2.0]), requires_grad=True)
        total = x * 1.0
        for k in range(2, 9):
            total = total + x * float(k)
        total.sum().backward()
    tree = ContributionTree(recording, recording.nodes[0], most=4)
    rows = tree.open(tree.root)
    assert len(rows) == 4 and rows[-1].rest and not rows[0].rest
    assert [r.share for r in rows[:3]] == pytest.approx([8 / 36, 7 / 36, 6 / 36])
    np.testing.assert_allclose(sum(r.value for r in rows), recording.nodes[0].cotangent)
    more = tree.open(rows[-1])
    assert len(more) == 4 and more[-1].rest
    np.testing.assert_allclose(sum(r.value for r in more), rows[-1].value)
