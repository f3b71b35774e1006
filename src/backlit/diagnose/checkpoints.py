"""What other checkpoints would cost: the step of a recording run again by the engine, with them, and recorded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backlit.autodiff.checkpoint import checkpoint
from backlit.autodiff.walk import Pick
from backlit.core.errors import ArgumentError
from backlit.core.record import listening
from backlit.core.tensor import Tensor
from backlit.diagnose.capture import Capture
from backlit.diagnose.flops import flops
from backlit.diagnose.recording import SAVE, SEED, Aside, Node, Recording, Scope, Step
from backlit.diagnose.replay import check_runs
from backlit.diagnose.rerun import Item, Rerun, Values

Chosen = str | tuple[str, str]


@dataclass(frozen=True)
class Part:
    """A part of the forward pass that can be one checkpoint: a module or function call, or one op, and what it keeps.

    `bytes` are those that its ops make the graph keep, beyond what is kept before, where there is no checkpoint.
    """

    name: str
    bytes: int


@dataclass(frozen=True)
class Plan:
    """One way to place checkpoints, and what it costs.

    `segments` are the checkpoints: for each, the first and the last part that it covers. `peak_bytes` are the most bytes
    that are kept at any moment, `kept_bytes` those at the end of the forward pass; `flops` are computed again, with `uncounted`
    ops that nobody counts (`flops.flops`). `curve` has the bytes kept after each event of the run, `seed` the event with which the
    backward pass begins.
    """

    name: str
    segments: tuple[tuple[str, str], ...]
    peak_bytes: int
    kept_bytes: int
    flops: int
    uncounted: int
    values: int
    curve: tuple[int, ...] = field(repr=False)
    seed: int


@dataclass(frozen=True)
class Plans:
    """Ways to place checkpoints, compared: without any first; `forward_flops` are those of one forward pass."""

    parts: tuple[Part, ...]
    plans: tuple[Plan, ...]
    forward_flops: int
    uncounted: int

    def __getitem__(self, name: str) -> Plan:
        for plan in self.plans:
            if plan.name == name:
                return plan
        raise ArgumentError(
            f"checkpoints: there is no plan {name!r}; there are {', '.join(p.name for p in self.plans)}"
        )


def checkpoint_plans(
    recording: Recording, chosen: Sequence[Chosen] = (), *, every: Sequence[int] | None = None, step: int = -1
) -> Plans:
    """What the step keeps and computes again without checkpoints, with one for every k parts, and with those that are chosen.

    Each plan is a run of the recorded step: its ops are applied again by the engine, the parts of a checkpoint inside of
    `backlit.checkpoint`, with the backward pass, and recorded; so `peak_bytes` is what a recording of such a program would
    have. Parts are the modules in the order of their calls, larger than half of the step opened up to theirs, or without modules
    functions and ops; what lies behind the last module, such as the loss, is in none. "every k" makes one checkpoint of k parts in
    turn with what lies between them, "chosen" one of each module or function that is named by its path, or of all from
    one to another for a pair of paths. "as recorded" is the program's own use of `checkpoint`.

    Costs a forward and backward pass for each plan; `every` names the k to try (by default 1, 2, 3, 4, 6, 8, 12 and so on,
    up to half of the parts).

    Raises:
      ArgumentError: the step cannot be run again: it was read from a file or has statistics alone, no backward pass or
        several, or values that were changed since; or `chosen` names no call, or overlaps.
    """
    who = "checkpoint_plans"
    check_runs(recording, who)
    try:
        at = recording.steps[step]
    except IndexError:
        raise ArgumentError(f"{who}: there is no step {step} of {len(recording.steps)}") from None
    program = Rerun(recording, at, who)
    parts = _parts(program)
    picked = sorted((_covered(program, at, c, who) for c in chosen), key=lambda span: span.first)
    for before, behind in itertools.pairwise(picked):
        if behind.first <= before.last:
            raise ArgumentError(
                f"{who}: what is chosen must not overlap, as {before.ends[1]!r} and {behind.ends[0]!r} do"
            )
    if every is not None and any(k < 1 for k in every):
        raise ArgumentError(f"{who}: every k parts, where k is at least 1, not {min(every)}")
    return _Comparison(recording, at, program, parts).made(picked, every)


def checkpoint_parts(recording: Recording, step: int = -1) -> tuple[str, ...]:
    """The names of the parts that `checkpoint_plans` makes checkpoints of; nothing is run.

    Raises:
      ArgumentError: the step cannot be run again.
    """
    check_runs(recording, "checkpoint_parts")
    at = recording.steps[step]
    return tuple(part.ends[0] for part in _parts(Rerun(recording, at, "checkpoint_parts")))


def sensible(n: int) -> list[int]:
    """Group sizes worth trying for n parts: 1, 2, 3, 4, 6, 8, 12, ..., up to half of them."""
    found = sorted({m << k for m in (1, 3) for k in range(n.bit_length())})
    return [k for k in found if k == 1 or 2 * k <= n + 1]


@dataclass(frozen=True)
class _Span:
    """Items from number `first` to `last`; `ends` are the names of the first and the last call or op in it."""

    ends: tuple[str, str]
    first: int
    last: int


class _Comparison:
    def __init__(self, recording: Recording, step: Step, program: Rerun, parts: list[_Span]) -> None:
        self.recording, self.step, self.program, self.parts = recording, step, program, parts

    def made(self, picked: list[_Span], every: Sequence[int] | None) -> Plans:
        bare, bare_run = self.plan("none", [])
        plans = [bare]
        if not np.array_equal(bare_run[1], self.program.root.value, equal_nan=True):
            raise ArgumentError(
                "checkpoint_plans: the step does not give the recorded loss again; its arrays were changed"
            )
        for k in sensible(len(self.parts)) if every is None else every:
            groups = [self.parts[i : i + k] for i in range(0, len(self.parts), k)]
            spans = [_Span((g[0].ends[0], g[-1].ends[1]), g[0].first, g[-1].last) for g in groups]
            if spans:
                plans.append(self.plan(f"every {k}", spans)[0])
        if self.recording.recomputed:
            own = Rerun(self.recording, self.step, "checkpoint_plans", checkpoints=True)
            plans.append(self.plan("as recorded", [], own)[0])
        if picked:
            plans.append(self.plan("chosen", picked)[0])
        counts = [flops(n.op, n.args, n, n.params) for n in bare_run[0].nodes if n.kind == "op"]
        asides = [i for i in self.program.items if isinstance(i, Aside)]
        counts += [flops(a.op, a.args, a.value, a.params) for a in asides]
        saved = [e.bytes if e.kind is SAVE else 0 for e in bare_run[0].events]
        marks = bare_run[2]
        parts = tuple(Part(p.ends[0], sum(saved[marks[p.first] : marks[p.last + 1]])) for p in self.parts)
        return Plans(parts, tuple(plans), sum(c or 0 for c in counts), sum(c is None for c in counts))

    def plan(
        self, name: str, spans: list[_Span], program: Rerun | None = None
    ) -> tuple[Plan, tuple[Recording, Any, list[int]]]:
        run, loss, marks = recorded_run(program or self.program, [(s.first, s.last) for s in spans])
        curve = run.kept_bytes()
        seed = next(i for i, e in enumerate(run.events) if e.kind is SEED)
        named = tuple(s.ends for s in spans)
        plan = Plan(
            name, named, max(curve, default=0), curve[seed], sum(r.flops for r in run.recomputed),
            sum(r.uncounted for r in run.recomputed), sum(r.count for r in run.recomputed), tuple(curve), seed,
        )  # fmt: skip
        return plan, (run, loss, marks)


def recorded_run(program: Rerun, spans: Sequence[tuple[int, int]]) -> tuple[Recording, Any, list[int]]:
    """The recording of a program, with its backward pass, of which the items in each span are one checkpoint; the loss; and how
    many events there were before each item that is in none, and in the end."""
    recording = Recording()
    capture = Capture(recording)
    program.forget()
    try:
        with listening(capture):
            marks: list[int] = []
            loss = _run(program, spans, lambda: marks.append(len(recording.events)))
            loss.backward(Tensor(program.root.seed))
    finally:
        capture.finish()
    return recording, loss._value, marks


def _run(program: Rerun, spans: Sequence[tuple[int, int]], mark: Callable[[], None]) -> Tensor:
    items, values = program.items, Values()
    last_use: dict[Item, int] = {program.root: len(items)}
    for at, item in enumerate(items):
        for a in program.reads(item):
            if isinstance(a, (Node, Aside)):
                last_use[a] = max(at, last_use.get(a, 0))
    at = 0
    for first, last in [*sorted(spans), (len(items), len(items))]:
        for item in items[at:first]:
            mark()
            program.apply(item, values, program.leaf)
        inside = items[first : last + 1]
        if inside:
            _segment(program, inside, [i for i in inside if last_use.get(i, -1) > last and not _is_joint(i)], values)
        at = last + 1
    mark()
    return values[program.root]  # type: ignore[no-any-return]


def _is_joint(item: Item) -> bool:
    return isinstance(item, Node) and item.value is None


def _segment(program: Rerun, inside: list[Item], outs: list[Item], values: Values) -> None:
    """Runs some items as one checkpoint. What was computed before it, and inputs, are its arguments; parameters and constants it
    takes from around it, as a module does."""
    own, taken = set(inside), dict[Any, None]()
    for item in inside:
        for a in program.reads(item):
            comes = isinstance(a, Aside) or (isinstance(a, Node) and a.kind in ("op", "input"))
            if comes and a not in own:
                taken[a] = None

    def segment(*given: Tensor) -> list[Tensor]:
        known = dict(zip(taken, given, strict=True))
        local: Values = dict(known)
        for item in inside:
            program.apply(item, local, lambda node: known[node] if node in known else program.leaf(node))
        return [local[item] for item in outs]

    arguments = [values[a] if a in values else program.leaf(a) for a in taken]
    values.update(zip(outs, checkpoint(segment)(*arguments), strict=True))


# Parts


def _covered(program: Rerun, step: Step, chosen: Chosen, who: str) -> _Span:
    """The items of the calls of that path, or from one to another."""
    first, last = (chosen, chosen) if isinstance(chosen, str) else chosen
    found = [
        at
        for at, item in enumerate(program.items)
        for name in (first, last)
        if isinstance(item, Node) and any(s.path == name for s in _scopes(item))
    ]
    for name in (first, last):
        if not any(isinstance(i, Node) and any(s.path == name for s in _scopes(i)) for i in program.items):
            raise ArgumentError(f"{who}: nothing was computed in a call of {name!r} in step {step.index}")
    return _Span((first, last), min(found), max(found))


def _scopes(node: Node) -> list[Scope]:
    """The calls in which a node was made, the outermost first."""
    return [s for s in node.call.ancestors() if s.kind in ("module", "function")][::-1]


def _parts(program: Rerun) -> list[_Span]:
    nodes = [(at, i) for at, i in enumerate(program.items) if isinstance(i, Node)]
    has_modules = any(s.kind == "module" and s.class_name for _, n in nodes for s in _scopes(n))
    if not has_modules:
        runs: list[tuple[Scope | None, _Numbered]] = []
        for scope, run in _runs(nodes, 0, ("function",)):
            if isinstance(run[0][1].op, Pick):  # one of several results stays with what gave them
                runs[-1][1].extend(run)
            else:
                runs.append((scope, run))
        return [_span(scope, run) for scope, run in runs if program.root not in [n for _, n in run]]
    size = {n: math.prod(n.shape) for _, n in nodes}
    half = sum(size.values()) / 2
    waiting = list(_calls(nodes, 0))
    found: list[_Span] = []
    while waiting:
        scope, run, depth = waiting.pop(0)
        inner = list(_calls(run, depth))
        whole = len(inner) > 1 or sum(len(r) for _, r, _ in inner) == len(run)
        if inner and whole and sum(size[n] for _, n in run) > half:
            waiting = inner + waiting
        else:
            found.append(_span(scope, run))
    return found


_Numbered = list[tuple[int, Node]]


def _calls(nodes: _Numbered, depth: int) -> Iterator[tuple[Scope, _Numbered, int]]:
    """The calls of modules at a depth, those in lists of modules included, and the depth in each."""
    for scope, run in _runs(nodes, depth, ("module",)):
        if scope is not None and scope.class_name:
            yield scope, run, depth + 1
        elif scope is not None:  # a list, which is not called itself
            yield from _calls(run, depth + 1)


def _runs(nodes: _Numbered, depth: int, kinds: tuple[str, ...]) -> Iterator[tuple[Scope | None, _Numbered]]:
    """Consecutive nodes of one call at a depth; those of no call of these kinds one by one, with None."""
    now: Scope | None = None
    run: _Numbered = []
    for at, node in nodes:
        scopes = _scopes(node)
        scope = scopes[depth] if len(scopes) > depth and scopes[depth].kind in kinds else None
        if run and (scope is None or scope is not now):
            yield now, run
            run = []
        now = scope
        run.append((at, node))
    if run:
        yield now, run


def _span(scope: Scope | None, run: _Numbered) -> _Span:
    name = run[0][1].name if scope is None else scope.path
    return _Span((name, name), run[0][0], run[-1][0])
