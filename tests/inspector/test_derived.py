"""Tables that follow from a recording's events, and those of formulas and balances."""

from __future__ import annotations

import numpy as np
import pytest

import backlit
from backlit import nn
from backlit.functional import cross_entropy
from backlit.inspector.pictures import Limits
from backlit.inspector.tables import tables_of


def merged():
    """y meets itself: u = x y, v = u + y, L = v^2 at x = 2, y = 3."""
    x, y = backlit.tensor(2.0, requires_grad=True), backlit.tensor(3.0, requires_grad=True)
    with backlit.record() as recording:
        v = x * y + y
        (v**2).backward()
    return recording


def network(dtype="f4"):
    backlit.random.seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3))
    data = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    with backlit.record() as recording:
        x = backlit.tensor(data)
        hidden = net[0](x)
        for layer in (net[1], net[2]):
            hidden = hidden + layer(hidden)
        cross_entropy(net[4](net[3](hidden)), backlit.tensor(np.arange(4) % 3)).backward()
    return recording


def contents(tables, row):
    array = {k: v[row] for k, v in tables["array"].items()}
    assert array["full"]
    data = tables["raw"]["byte"][int(array["at"]) : int(array["at"] + array["nbytes"])]
    return data.tobytes(), np.frombuffer(data.tobytes(), array["dtype"])


@pytest.mark.parametrize("make", [merged, network])
def test_running_sums_end_with_the_bits_of_the_gradient(make):
    recording = make()
    tables, _ = tables_of(recording, Limits(), sources=False)
    merge, partial = tables["merge"], tables["partial"]
    met = [n for n in recording.nodes if len(n.contributions) > 1]
    assert met
    assert merge["node"].tolist() == [n.index for n in met]
    for node in met:
        rows = np.flatnonzero(partial["node"] == node.index)
        assert partial["order"][rows].tolist() == list(range(len(node.contributions)))
        total = None
        for row, term in zip(rows, node.contributions, strict=True):
            total = term.value if total is None else total + term.value
            assert contents(tables, partial["array"][row])[0] == np.asarray(total).tobytes()
            edge = partial["edge"][row]
            assert (tables["edge"]["from"][edge], tables["edge"]["to"][edge]) == (node.index, term.child.index)
            assert tables["edge"]["order"][edge] == partial["order"][row]
        assert contents(tables, partial["array"][rows[-1]])[0] == np.asarray(node.cotangent).tobytes()


def test_terms_that_cancel_are_marked():
    x = backlit.tensor([1.0, 2.0], requires_grad=True)
    with backlit.record() as recording:
        (x * 1e4).sum().backward()  # one use: no merge
        (x * 1e4 - x * 9999.0).sum().backward()
    tables, _ = tables_of(recording, Limits(), sources=False)
    assert tables["merge"]["cancels"].tolist() == [1]
    assert tables["merge"]["norm_sum"][0] == pytest.approx(np.sqrt(2) * 19999)
    assert tables["merge"]["norm"][0] == pytest.approx(np.sqrt(2))
    assert tables_of(network(), Limits(), sources=False)[0]["merge"]["cancels"].tolist() == [0, 0]


def test_memory_follows_the_events():
    recording = network()
    tables, info = tables_of(recording, Limits(), sources=False)
    kept = recording.kept_bytes()
    memory = tables["memory"]
    assert [kept[e] for e in memory["event"]] == memory["total"].tolist()
    assert info["peak_bytes"] == max(kept) == kept[info["peak_event"]]
    assert max(kept[: info["peak_event"]]) < max(kept)
    assert memory["total"][-1] == kept[-1]


def test_times_add_up():
    recording = network()
    tables, _ = tables_of(recording, Limits(), sources=False)
    times = tables["optime"]
    assert times["count"].sum() == sum(n.op is not None for n in recording.nodes)
    assert times["forward_ns"].sum() == tables["node"]["forward_ns"].sum()
    assert times["backward_ns"].sum() == tables["node"]["backward_ns"].sum()


def test_products_take_their_time_for_each_factor():
    recording = network()
    tables, _ = tables_of(recording, Limits(), sources=False)
    times, names = tables["optime"], tables["op"]["name"]
    matmuls = [n for n in recording.nodes if n.op is not None and n.op.name == "matmul"]
    passed = {(c.child, c.argnum): c.ns for n in recording.nodes for c in n.contributions}
    row = [names[k] for k in times["op"]].index("matmul")
    for argnum, column in enumerate(("left_ratio", "right_ratio")):
        given = [n for n in matmuls if n.wanted[argnum]]
        took = [passed[n, argnum] for n in given]
        assert all(ns > 0 for ns in took)
        forward = sum(recording.events[n.forward_event].ns for n in given)
        assert times[column][row] == pytest.approx(sum(took) / forward)
    for n in matmuls:  # what the parts took lies within the time of the rule
        assert sum(ns for (child, _), ns in passed.items() if child is n) <= recording.events[n.vjp_event].ns
    others = [k for k, op in enumerate(times["op"]) if names[op] != "matmul"]
    assert others and np.isnan(times["left_ratio"][others]).all()


def test_formulas_once_for_each_structure():
    recording = network()
    tables, _ = tables_of(recording, Limits(), sources=False)
    formula, rule, of = tables["formula"], tables["rule"], tables["node"]["formula"]
    for node in recording.nodes:
        assert (of[node.index] >= 0) == (node.op is not None)
    tanh = of[next(n.index for n in recording.nodes if n.op is not None and n.op.name == "tanh")]
    assert formula["forward_latex"][tanh] == r"\tanh(\arg{0})"
    assert rule["text"][rule["formula"].tolist().index(tanh)] == r"\up * (1 - \out * \out)"
    adds = {of[n.index] for n in recording.nodes if n.op is not None and n.op.name == "add" and n.shape == (4, 5)}
    assert len(adds) < sum(n.op is not None and n.op.name == "add" and n.shape == (4, 5) for n in recording.nodes)


def test_numbers_stand_in_the_rules_of_scalars():
    recording = merged()
    tables, _ = tables_of(recording, Limits(), sources=False)
    numbers = tables["rulenumbers"]
    mul = next(n.index for n in recording.nodes if n.op is not None and n.op.name == "mul")
    found = {int(a): t for n, a, t in zip(numbers["node"], numbers["argnum"], numbers["text"], strict=True) if n == mul}
    assert found == {-1: "2 * 3", 0: "18 * 3", 1: "18 * 2"}


def test_lamps_name_the_broken_rule(monkeypatch):
    from backlit.core.op import REGISTRY

    tables, _ = tables_of(network(), Limits(), sources=False)
    assert tables["lamp"]["node"].size and not tables["lamp"]["guilty"].any()
    right = type(REGISTRY["tanh"]).partial
    monkeypatch.setattr(type(REGISTRY["tanh"]), "partial", lambda *a: 1.1 * right(*a))
    recording = network()
    tables, _ = tables_of(recording, Limits(), sources=False)
    lamp = tables["lamp"]
    guilty = lamp["node"][lamp["guilty"] == 1].tolist()
    assert [recording.nodes[n].op.name for n in guilty] == ["tanh"]


def test_layers_carry_what_bends_the_gradient():
    from models import deep

    recording = deep(layers=20)
    tables, _ = tables_of(recording, Limits(), sources=False)
    layers, culprits = tables["flow"], tables["culprit"]
    assert len(layers["node"]) == 20
    assert layers["band"][0] == 1 and layers["band"][-1] == 0
    for row, node in enumerate(layers["node"]):
        assert layers["delta_norm"][row] == pytest.approx(np.linalg.norm(recording.nodes[node].cotangent), rel=1e-6)
    assert layers["product"][0] == pytest.approx(np.prod(layers["gain"][:-1]), rel=1e-9)
    assert culprits["rank"][culprits["flow"] == 0].tolist()[:1] == [0]
    assert all(culprits["what"])
    modules = [tables["module"]["path"][m] for m in layers["module"]]
    assert modules == [str(2 * k) for k in range(20)]


def test_the_walk_ends_at_the_cause_of_a_nan():
    x = backlit.tensor([4.0, -1.0], requires_grad=True)
    with backlit.record() as recording:
        (x.sqrt() * 2.0).sum().backward()
    tables, _ = tables_of(recording, Limits(), sources=False)
    walk = tables["badwalk"]
    assert [recording.nodes[n].op.name for n in walk["node"]] == ["sqrt"]
    assert walk["event"].tolist() == [recording.nodes[walk["node"][0]].forward_event]
    assert walk["element"] == ["[1]"]
    assert len(tables_of(merged(), Limits(), sources=False)[0]["badwalk"]["node"]) == 0


@pytest.mark.parametrize("make", [merged, network])
def test_shares_of_a_gradient_add_to_one_at_every_cut(make):
    recording = make()
    tables, _ = tables_of(recording, Limits(), sources=False)
    targets, shares = tables["provenance"], tables["provshare"]
    wanted = [n.index for n in recording.nodes if n.kind == "parameter" and n.cotangent is not None]
    assert targets["target"].tolist() == wanted
    for row, node in enumerate(targets["target"]):
        assert targets["total"][row] == pytest.approx(np.sum(np.square(recording.nodes[node].cotangent, dtype="f8")))
        rows = slice(targets["share_start"][row], targets["share_start"][row] + targets["share_count"][row])
        edges = shares["edge"][rows]
        assert (edges >= 0).all()
        into = tables["edge"]["from"][edges] == node
        assert shares["share"][rows][into].sum() == pytest.approx(1, abs=1e-5)
    assert np.abs(tables["sankeycut"]["sum"] - 1).max() < 1e-5
    assert set(tables["sankey"]["target"].tolist()) == set(range(len(wanted)))


def test_shares_at_a_merge_add_to_one():
    tables, _ = tables_of(merged(), Limits(), sources=False)
    edge = tables["edge"]
    into_y = edge["share"][(edge["from"] == 1) & (edge["event"] >= 0)]
    assert sorted(into_y) == pytest.approx([1 / 3, 2 / 3])


def test_without_arrays_nothing_is_diagnosed():
    recording = merged()
    for node in recording.nodes:
        node.value = node.cotangent = None
        for term in node.contributions:
            term.value = None
    tables, _ = tables_of(recording, Limits(), sources=False)
    assert "lamp" not in tables and "provenance" not in tables
    assert (tables["node"]["formula"] == -1).all()
    assert len(tables["merge"]["node"]) == 0


def test_what_is_worked_out_ahead():
    recording = merged()
    tables, _ = tables_of(recording, Limits(), sources=False)
    y = 1
    paths = tables["paths"]
    assert dict(zip(paths["target"].tolist(), paths["count"], strict=True)) == {0: "1", y: "2"}
    of_y = tables["path"]["weight"][tables["path"]["paths"] == paths["target"].tolist().index(y)]
    assert sorted(of_y) == pytest.approx([18, 36])  # the weights of scalar paths add to the gradient
    tree = tables["tree"]
    assert sorted(tree["share"][(tree["target"] == y) & (tree["parent"] == -1)]) == pytest.approx([1 / 3, 2 / 3])
    graded = tables["graded"]
    assert graded["share"][graded["target"] == y].sum() == pytest.approx(1)
    nudge = tables["nudge"]
    row = nudge["node"].tolist().index(y)
    assert nudge["delta"][row] == 54 and nudge["estimate"][row] == pytest.approx(54, rel=1e-9)
    cells, terms = tables["cellview"], tables["cellterm"]
    for k, total in enumerate(cells["total"]):
        own = slice(cells["term_start"][k], cells["term_start"][k] + cells["term_count"][k])
        assert terms["product"][own].sum() == pytest.approx(total)


def test_of_complex_numbers_gradients_are_split_and_nudged_too():
    rng = np.random.default_rng(0)
    x = backlit.tensor(rng.standard_normal(4), requires_grad=True)
    w = backlit.tensor(rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)), requires_grad=True)
    with backlit.record() as recording:
        signal = backlit.fft.fft(backlit.tanh(x * 2.0))
        (backlit.abs(w @ signal + signal) ** 2).sum().backward()
    tables, _ = tables_of(recording, Limits(), sources=False)
    graded, nudged = tables["graded"], tables["nudge"]
    followed = {recording.nodes[n].name for n in graded["target"]}
    assert followed == {"x", "w"}
    for target in set(graded["target"]):
        assert np.sum(graded["share"][graded["target"] == target]) == pytest.approx(1.0)
    assert len(nudged["delta"]) and np.allclose(nudged["delta"], nudged["estimate"], rtol=1e-5)
    assert not any(recording.nodes[n].dtype.kind == "c" for n in nudged["node"])


@pytest.mark.parametrize("statistics", [False, True])
def test_updates_are_told_of_the_clipped_gradient_and_in_relation_to_the_parameter(statistics):
    net = nn.Linear(3, 2, dtype=np.float64)
    optimizer = backlit.optim.SGD(net.parameters(), lr=0.5)
    with backlit.record(statistics=statistics) as recording:
        (net(backlit.tensor(np.ones((4, 3)))) ** 2).sum().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.125)
        used = [np.linalg.norm(p.grad.numpy()) for p in net.parameters()]
        sizes = [np.linalg.norm(p.numpy()) for p in net.parameters()]
        optimizer.step()
    update = tables_of(recording, Limits(), sources=False)[0]["update"]
    np.testing.assert_allclose(update["grad_norm"], used, rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(used), 0.125, rtol=1e-5)
    np.testing.assert_allclose(update["change_norm"], np.multiply(0.5, used), rtol=1e-12)
    np.testing.assert_allclose(update["ratio"], np.divide(np.multiply(0.5, used), sizes), rtol=1e-12)
