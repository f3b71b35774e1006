"""The step audit: each mistake is named once, and loops that are as they should be are not mentioned."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import backlit as bl
from backlit import nn, optim

X = bl.tensor(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))


class Two(nn.Module):
    """A trunk and two heads."""

    def __init__(self):
        super().__init__()
        self.trunk, self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.one(bl.tanh(self.trunk(x)))


def loss(y):
    return bl.mean(y**2)


def plain(model, optimizer, forward=None):
    def step():
        optimizer.zero_grad()
        loss((forward or model)(X)).backward()
        optimizer.step()

    return step


def run(steps, compiled, rounds=4, **options):
    for step in [bl.compile(step, **options) if compiled else step for step in steps] * rounds:
        step()


def heard(steps, compiled, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(steps, compiled, **options)
    assert all(w.category is optim.AuditWarning and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


# Mistakes


def unused_layer():
    model = Two()
    return [plain(model, optim.SGD(model.parameters(), lr=0.1))]


def detached():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    return [plain(model, optim.Adam(model.parameters()), lambda x: model[1](model[0](x).detach()))]


def replaced():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model[1] = nn.Linear(3, 2)
    return [plain(model, optimizer)]


def forgotten():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    return [plain(model, optim.SGD(model[1].parameters(), lr=0.1))]


def in_two():
    model = nn.Linear(3, 3)
    first, second = optim.SGD(model.parameters(), lr=0.1), optim.Adam(model.parameters())
    third = optim.SGD(nn.Linear(2, 2).parameters())

    def step():
        plain(model, first)()
        second.step()
        assert third is not None

    return [step]


def never_reset():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        loss(model(X)).backward()
        optimizer.step()

    return [step]


def stepped_twice():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        plain(model, optimizer)()
        optimizer.step()

    return [step]


def evaluating():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    return [plain(model, optim.SGD(model.parameters(), lr=0.1))]


def reset_too_late():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        loss(model(X)).backward()
        optimizer.zero_grad()
        optimizer.step()

    return [step]


MISTAKES = {
    unused_layer: ["does not reach two.weight, two.bias"],
    detached: ["does not reach 0.weight, 0.bias"],
    replaced: ["no optimizer has 1.weight, 1.bias", r"replaced after the optimizer was made"],
    forgotten: ["no optimizer has 0.weight, 0.bias"],
    in_two: ["Adam and SGD both step along the same gradient of weight, bias"],
    never_reset: ["gradients of weight, bias that still hold"],
    stepped_twice: ["gradients of weight, bias that still hold"],
    evaluating: [r"eval mode, in which 1 (BatchNorm1d), 2 (Dropout) act otherwise: call train()"],
    reset_too_late: ["no parameter of SGD has a gradient"],
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("make", MISTAKES, ids=lambda f: f.__name__)
def test_a_mistake_is_named_once(make, compiled):
    # without keep_grads a compiled step whose gradients are not reset raises at the second call
    found = heard(make(), compiled, keep_grads=True)
    assert len(found) == len(MISTAKES[make])
    for message, part in zip(found, MISTAKES[make], strict=True):
        assert part in message and "\n" not in message


def test_gradients_that_a_compiled_step_used_up_name_both_ways_out():
    with pytest.raises(bl.GradientError, match=r"zero_grad\(\).*keep_grads=True"):
        run(never_reset(), True)


# Loops as they should be


def gan(wrapped=False):
    g, d = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1))
    whole = nn.ModuleDict({"g": g, "d": d}) if wrapped else None
    of_g, of_d = optim.Adam(g.parameters()), optim.Adam(d.parameters())

    def judge():
        of_d.zero_grad()
        (loss(d(X)) - loss(d(g(X).detach()))).backward()
        of_d.step()

    def make():
        assert whole is None or whole["g"] is g
        of_g.zero_grad()
        loss(d(g(X))).backward()
        of_g.step()

    return [judge, make]


def gan_in_one_module():
    return gan(True)


def gan_in_one_step():
    judge, make = gan()

    def step():
        judge()
        make()

    return [step]


def accumulation():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step():
        for k in range(3):
            (loss(model(X + float(k))) / 3).backward()
        optimizer.step()
        optimizer.zero_grad()

    return [step]


def frozen_layers():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    model[1].requires_grad_(False).eval()
    return [plain(model, optim.SGD(model.parameters(), lr=0.1))]


def frozen_model_with_a_head():
    body = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).eval().requires_grad_(False)
    head = nn.Linear(3, 1)
    every = [*body.parameters(), *head.parameters()]
    return [plain(head, optim.SGD(every, lr=0.1), lambda x: head(body(x)))]


def only_the_head():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    model[0].requires_grad_(False)
    return [plain(model, optim.SGD(model[1].parameters(), lr=0.1))]


def frozen_statistics():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[1].eval()
    return [plain(model, optim.SGD(model.parameters(), lr=0.1))]


def only_the_head_in_training_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    model[2].train()
    return [plain(model, optim.SGD(model.parameters(), lr=0.1))]


def eval_mode_that_makes_no_difference():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0), nn.LayerNorm(3)).eval()
    return [plain(model, optim.SGD(model.parameters(), lr=0.1))]


def gradients_reset_to_zeros():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad(set_to_none=False)
        loss(model(X)).backward()
        optimizer.step()

    return [step]


def accumulated():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    micro = optim.accumulate(optimizer)

    def step():
        with micro:
            for k in range(3):
                micro.add(loss(model(X + float(k))), 4)
        optimizer.step()

    return [step]


def tied_weights():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return [plain(model, optim.SGD(model.parameters(), lr=0.1))]


def sum_of_losses():
    model = Two()
    both = lambda x: bl.concat([model.one(model.trunk(x)), model.two(model.trunk(x))])
    return [plain(model, optim.Adam(model.parameters()), both)]


def losses_one_by_one():
    model = Two()
    optimizer = optim.Adam(model.parameters())

    def step():
        optimizer.zero_grad()
        loss(model.one(model.trunk(X))).backward()
        loss(model.two(model.trunk(X))).backward()
        optimizer.step()

    return [step]


def losses_in_turns():
    model = Two()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return [plain(model, optimizer, lambda x, h=h: h(model.trunk(x))) for h in (model.one, model.two)]


def losses_with_an_optimizer_each():
    model = Two()
    pairs = [(h, optim.Adam([*model.trunk.parameters(), *h.parameters()])) for h in (model.one, model.two)]
    return [plain(model, optimizer, lambda x, h=h: h(model.trunk(x))) for h, optimizer in pairs]


def weights_and_biases_apart():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    kinds = [[p for p in model.parameters() if p.ndim == n] for n in (2, 1)]
    matrices, vectors = optim.Muon(kinds[0]), optim.AdamW(kinds[1])

    def step():
        plain(model, matrices)()
        vectors.step()
        vectors.zero_grad()

    return [step]


def reset_by_the_model():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        loss(model(X)).backward()
        optimizer.step()
        model.zero_grad()

    return [step]


def evaluation_between():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    step = plain(model, optim.SGD(model.parameters(), lr=0.1))

    def evaluation():
        model.eval()
        with bl.no_grad():
            loss(model(X))
        model.train()

    return [step, evaluation]


def a_mean_of_the_weights():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    averaged = optim.swa_utils.AveragedModel(model)
    averaged.eval()
    step = plain(model, optim.SGD(model.parameters(), lr=0.1))

    def both():
        step()
        averaged.update_parameters(model)

    return [both]


def teacher_and_student():
    pair = nn.ModuleDict({"teacher": nn.Linear(3, 3), "student": nn.Linear(3, 3)})

    def difference(x):
        with bl.no_grad():
            target = pair["teacher"](x)
        return pair["student"](x) - target

    return [plain(pair, optim.SGD(pair["student"].parameters(), lr=0.1), difference)]


def tensors_without_a_model():
    w = bl.tensor(np.ones((3, 2), np.float32), requires_grad=True)
    return [plain(None, optim.SGD([w], lr=0.1), lambda x: x @ w)]


def one_optimizer_after_another():
    model = nn.Linear(3, 3)
    steps = [plain(model, kind(model.parameters())) for kind in (optim.SGD, optim.Adam)]
    return [steps[0], steps[0], steps[0], steps[1]]


def clipped_with_a_schedule():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        optimizer.zero_grad()
        loss(model(X)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    return [step, optim.lr_scheduler.StepLR(optimizer, 2).step]


def gradients_of_a_function():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step():
        gradients = bl.grad(lambda m: loss(m(X)))(model)
        for p, g in zip(model.parameters(), gradients.parameters(), strict=True):
            p.grad = g
        optimizer.step()

    return [step]


def a_copy_of_the_model():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1))
    best = copy.deepcopy(model).eval()
    return [plain(model, optim.SGD(model.parameters(), lr=0.1)), lambda: best.load_state_dict(model.state_dict())]


LOOPS = [
    gan, gan_in_one_module, gan_in_one_step, accumulation, frozen_layers, frozen_model_with_a_head, only_the_head,
    frozen_statistics, only_the_head_in_training_mode, eval_mode_that_makes_no_difference, gradients_reset_to_zeros, accumulated, tied_weights, sum_of_losses, losses_one_by_one, losses_in_turns, losses_with_an_optimizer_each,
    weights_and_biases_apart, reset_by_the_model, evaluation_between, a_mean_of_the_weights, teacher_and_student,
    tensors_without_a_model, one_optimizer_after_another, clipped_with_a_schedule, gradients_of_a_function,
    a_copy_of_the_model,
]  # fmt: skip
NOT_COMPILED = (clipped_with_a_schedule, a_copy_of_the_model, evaluation_between)  # the second function


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("make", LOOPS, ids=lambda f: f.__name__)
def test_a_loop_as_it_should_be_is_not_mentioned(make, compiled):
    steps = make()
    if make in NOT_COMPILED and compiled:
        steps, compiled = [bl.compile(steps[0]), steps[1]], False
    # of two compiled steps the second adds to gradients that the first left
    assert heard(steps, compiled, **({"keep_grads": True} if compiled and len(steps) > 1 else {})) == []


def test_gradients_set_to_zero_are_reset():
    model = nn.Linear(3, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            for p in model.parameters():
                if p.grad is not None:
                    p.grad[...] = 0.0
            loss(model(X)).backward()
            optimizer.step()
    assert not told


def test_nothing_is_looked_at_after_the_second_step(monkeypatch):
    model = nn.Linear(3, 3)
    step = bl.compile(plain(model, optim.SGD(model.parameters(), lr=0.1)))
    step()
    step()
    monkeypatch.setattr(optim.watch, "pending", {})
    entries = {id(each.entry) for steps in step._steps.values() for each in steps}
    step()
    assert entries == {id(each.entry) for steps in step._steps.values() for each in steps}
    assert step.reasons == []


def test_an_optimizer_that_is_gone_is_not_waited_for():
    optimizer = optim.SGD(nn.Linear(3, 3).parameters(), lr=0.1)
    key = id(optimizer)
    assert key in optim.watch.pending
    del optimizer
    assert key not in optim.watch.pending


# By hand


def test_by_hand_on_a_loss_and_on_gradients():
    model = Two()
    optimizer = optim.SGD([*model.trunk.parameters(), *model.two.parameters()], lr=0.1)
    found = bl.audit(model, optimizer, loss=loss(model(X)))
    assert [(f.kind, f.names) for f in found] == [
        ("unreached", ("two.weight", "two.bias")),
        ("missing", ("one.weight", "one.bias")),
    ]
    assert all(p.grad is None for p in model.parameters())
    loss(model(X)).backward()
    assert bl.audit(model, optimizer) == found
    other = optim.Adam(model.one.parameters())
    kinds = {f.kind for f in bl.audit(model, optimizer, other, optim.SGD(model.trunk.parameters()))}
    assert kinds == {"unreached", "twice"}
    model.two.requires_grad_(False)
    assert bl.audit(model, optimizer, other, loss=loss(model(X))) == []


def test_by_hand_on_the_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0), nn.Dropout(0.2), nn.LSTM(3, 3))
    (found,) = bl.audit(model)
    assert found.kind == "train" and found.names == ("2 (Dropout)",) and "call eval()" in str(found)
    model.eval()
    assert bl.audit(model) == []
    optimizer = optim.SGD(model.parameters())
    kinds = [f.kind for f in bl.audit(model, optimizer, loss=loss(model[0](X)))]
    assert kinds == ["unreached", "eval"]
    (found,) = bl.audit(model[0], optim.SGD(model[0].parameters()), loss=bl.tensor(1.0))
    assert "no parameter" in str(found)
