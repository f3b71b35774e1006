"""What was captured of forward and backward passes: nodes, contributions, events, steps, the tree of calls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import numpy as np

from backlit.core.dtypes import wide_dtype
from backlit.core.errors import ArgumentError
from backlit.core.op import Op
from backlit.core.source import Source
from backlit.diagnose.source import near
from backlit.diagnose.statistics import Statistics, compared, measure

Array = np.ndarray[Any, Any]
Kind = Literal["parameter", "input", "constant", "op"]


class EventKind(IntEnum):
    """What happened."""

    FORWARD = 0
    SAVE = 1
    SEED = 2
    VJP = 3
    CONTRIBUTION = 4
    COMPLETED = 5
    FREE = 6
    RECOMPUTE = 7
    UPDATE = 8


FORWARD, SAVE, SEED, VJP, CONTRIBUTION, COMPLETED, FREE, RECOMPUTE, UPDATE = EventKind


class Place(NamedTuple):
    """A line of a program, in a recording that was read from a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, eq=False, slots=True)
class Event:
    """One moment of a recording: what happened at `node`, to how many bytes, in how many nanoseconds (0 where not taken).

    For `SAVE` and `FREE` the bytes are those that the graph holds more or less than before; a value that shares the
    memory of another, or of a parameter, has 0.
    """

    kind: EventKind
    node: Node
    contribution: Contribution | None = None
    bytes: int = 0
    ns: int = 0


class Events(Sequence[Event]):
    """The events in order; kept as columns, so that a long run leaves no object for each."""

    def __init__(self) -> None:
        self._kinds: list[EventKind] = []
        self._nodes: list[Node] = []
        self._contributions: list[Contribution | None] = []
        self._bytes: list[int] = []
        self._ns: list[int] = []

    def add(
        self, kind: EventKind, node: Node, contribution: Contribution | None = None, n_bytes: int = 0, ns: int = 0
    ) -> int:
        """Appends an event; gives its position."""
        self._kinds.append(kind)
        self._nodes.append(node)
        self._contributions.append(contribution)
        self._bytes.append(n_bytes)
        self._ns.append(ns)
        return len(self._kinds) - 1

    def took(self, position: int, ns: int) -> None:
        """How long an event took, once that is known."""
        self._ns[position] = ns

    def __len__(self) -> int:
        return len(self._kinds)

    @overload
    def __getitem__(self, position: int) -> Event: ...

    @overload
    def __getitem__(self, position: slice) -> list[Event]: ...

    def __getitem__(self, position: int | slice) -> Event | list[Event]:
        if isinstance(position, slice):
            return [self[k] for k in range(*position.indices(len(self)))]
        return Event(
            self._kinds[position], self._nodes[position], self._contributions[position], self._bytes[position],
            self._ns[position],
        )  # fmt: skip

    def __iter__(self) -> Iterator[Event]:
        columns = (self._kinds, self._nodes, self._contributions, self._bytes, self._ns)
        return map(Event, *columns)


@dataclass(eq=False, slots=True)
class Contribution:
    """What the rule of `child` passed to one of its arguments: a term of that node's cotangent.

    `value` is None where only its statistics were kept. `ns` is how long it took, where the rule of a product made it by one
    product; else 0.
    """

    child: Node
    argnum: int
    value: Any
    event: int
    statistics: Statistics | None = None
    ns: int = 0


@dataclass(eq=False, slots=True)
class Saved:
    """That a value is kept for the reverse rules of `readers`, pairs of a node and the argument its rule is for.

    `bytes` are those that keeping it costs: 0 where the memory is a parameter's or already kept. `to_event` is None
    while it is kept.
    """

    from_event: int
    bytes: int
    to_event: int | None = None
    readers: list[tuple[Node, int]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Recomputed:
    """That the rule of `node`, of a checkpoint, computed again what was not kept: `count` values of `n_bytes` bytes, in `ns`
    nanoseconds; that took `flops` floating-point operations, not counting `uncounted` ops (see `flops.flops`).

    `kept` bytes of them were needed by rules, from `from_event` to `to_event` (None where an error came between).
    """

    node: Node
    from_event: int
    to_event: int | None = None
    count: int = 0
    n_bytes: int = 0
    kept: int = 0
    ns: int = 0
    flops: int = 0
    uncounted: int = 0


@dataclass(eq=False, slots=True)
class Aside:
    """An op that was applied to recorded values and passes no gradient on: a comparison, a place of a maximum, what is
    computed under `no_grad`.

    `args` are nodes, other asides, arrays and Python numbers; `position` is the number of nodes that there were before it,
    `number` that of asides.
    """

    op: Op
    params: dict[str, Any]
    args: tuple[Any, ...]
    value: Any
    position: int
    number: int


@dataclass(eq=False, slots=True)
class Scope:
    """One call of a module or function: a part of the recording that belongs together.

    `path` is the dotted path of the module, as in `named_modules`, and names the function scopes below it after slashes;
    a second call has "#1" at its end.
    """

    kind: Literal["root", "step", "module", "function"]
    name: str
    class_name: str
    parent: Scope | None
    step: int
    path: str = ""
    index: int = 0

    def ancestors(self) -> Iterator[Scope]:
        """This scope, the one it was called in, and so on to the root."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent


@dataclass(eq=False, slots=True, repr=False)
class Node:
    """One value of a recorded run: made by an op, or a parameter, input or constant.

    `name` is the path of calls that led to it, the same in every run: `layers.0/linear/matmul#0`, `layers.0/weight`,
    `x`. `args` are nodes and Python numbers; `wanted` tells which of them get a gradient. `value` and `cotangent` (the
    complete upstream gradient, None where none arrived) are the arrays of the run itself, not copies. `contributions`
    stand in the order in which they were summed, after `seed` where a backward pass began here. The node of an op with
    several results has no value of its own; a node for each result follows. Where only statistics were kept, `value` and
    `cotangent` are None and `statistics` has those of both by these names. `aside` tells how a constant was made of values
    that are recorded.
    """

    index: int
    kind: Kind
    op: Op | None
    params: dict[str, Any]
    args: tuple[Any, ...]
    wanted: tuple[bool, ...]
    value: Any
    call: Scope
    step: int
    where: Any = None
    name: str = ""
    shape: tuple[int, ...] = ()
    dtype: Any = None
    cotangent: Array | None = None
    seed: Array | None = None
    contributions: list[Contribution] = field(default_factory=list)
    forward_event: int | None = None
    vjp_event: int | None = None
    completed_event: int | None = None
    saved: Saved | None = None
    uses: int = 0
    statistics: dict[str, Statistics] | None = None
    aside: Aside | None = None

    @property
    def label(self) -> str:
        """A short name: what the value is called where it stands, or the op that made it."""
        last = self.name.rsplit("/", 1)[-1]
        return last if self.op is None or "#" not in last else self.op.name

    @property
    def module(self) -> str:
        """Dotted path of the innermost module call it was made in; empty for none."""
        return next((s.path for s in self.call.ancestors() if s.kind == "module"), "")

    @property
    def scope(self) -> tuple[str, ...]:
        """Names of the functions that were called below that module, the outermost first."""
        names: list[str] = []
        for scope in self.call.ancestors():
            if scope.kind != "function":
                break
            names.append(scope.name)
        return tuple(reversed(names))

    @property
    def source(self) -> Source | Place | None:
        """The file and line of the user's program that made it."""
        return Source(*self.where) if self.where.__class__ is tuple else self.where

    def resummed(self) -> Array | None:
        """The contributions added in recorded order: the same bits as `cotangent`, unless a hook replaced that."""
        total = self.seed
        with np.errstate(all="ignore"):
            for contribution in self.contributions:
                total = contribution.value if total is None else np.asarray(total + contribution.value)
        return total

    def __repr__(self) -> str:
        made = f" = {self.op.name}" if self.op else ""
        return f"<{self.kind} {self.name}{made} {self.dtype}{list(self.shape)}>"


class Moved(NamedTuple):
    """Norms of a parameter before an update, of the gradient that was used and of the change; and the change of the loss
    that the gradient predicts, which is their inner product (NaN where only statistics were kept)."""

    value: float
    gradient: float
    change: float
    predicted: float


@dataclass(eq=False, slots=True)
class Update:
    """What an optimizer did to a parameter: its value before and after, and the gradient it used.

    The arrays are None where only statistics were kept: those of value and gradient and the norm of the change, or
    what was worked out of them. `settings` are the numbers of the optimizer for it, such as `lr`, and `state` what it keeps
    of it after the step, such as `momentum_buffer`.
    """

    node: Node
    before: Any
    after: Any
    gradient: Any
    event: int
    statistics: Moved | tuple[Statistics, Statistics, float] | None = None
    settings: dict[str, float] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def measured(self) -> Moved:
        """The norms."""
        known = self.statistics
        if isinstance(known, Moved):
            return known
        if known is not None:
            self.statistics = Moved(known[0].norm, known[1].norm, known[2], math.nan)
            return self.statistics
        value, slope = measure(self.before, histogram=False), measure(self.gradient, histogram=False)
        with np.errstate(all="ignore"):
            wide = wide_dtype(self.after.dtype)
            change = np.asarray(self.after, wide) - np.asarray(self.before, wide)
            predicted = float(np.vdot(change, np.asarray(self.gradient, wide)).real)
        return Moved(value.norm, slope.norm, compared(self.after, self.before)[1], predicted)


@dataclass(eq=False, slots=True)
class Step:
    """One forward pass with the backward passes and updates that followed; ranges of nodes and events end before `stop`.

    `number` is the number of the step in training, where somebody gave it; `loss` the value at which the last backward
    pass began, when it is one number.
    """

    index: int
    number: int
    start_node: int
    start_event: int
    stop_node: int = 0
    stop_event: int = 0
    loss: float | None = None
    root: Node | None = None
    updates: list[Update] = field(default_factory=list)


class Example(NamedTuple):
    """What a model says of one row: the true class, the one predicted and its probability, and the row to be drawn."""

    truth: str
    predicted: str
    probability: float
    array: Any


class Recording:
    """A recorded run: its nodes in the order of the forward pass, and what happened to them.

    `recording["layers.0/linear/matmul#0"]` is the node of that name, in the last step that has one;
    `recording[2, "x"]` that of step 2. `modules` are the calls, each after the one it was made in; the first is the
    root. `recomputed` are the checkpoints whose values were computed again, in the order in which they were. `note` says
    what the reader has to know, such as that a compiled step was replayed, `difference` how far its results are from what
    is shown. `series` are curves by name, lists of (step of training, value), `examples` what a trained model says of some
    rows.
    """

    if TYPE_CHECKING:  # attached by the inspector, where files and pages are known

        def save(
            self, path: Any, *, max_mb: float | None = None, sources: bool = True, follow: Sequence[Any] = (),
            bands: Any = None, checkpoints: Sequence[Any] = (), tree_depth: int | None = None,
            sweep: Any = None, run: Any = None,
        ) -> None: ...  # fmt: skip
        def show(
            self, *, max_mb: float | None = None, sources: bool = True, follow: Sequence[Any] = (), bands: Any = None,
            checkpoints: Sequence[Any] = (), tree_depth: int | None = None,
            sweep: Any = None, run: Any = None,
        ) -> str: ...  # fmt: skip
        def frame(self, height: int = 640) -> Any: ...

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.events = Events()
        self.steps: list[Step] = []
        self.modules: list[Scope] = []
        self.note = ""
        self.recomputed: list[Recomputed] = []
        self.series: dict[str, list[tuple[int, float]]] = {}
        self.difference = 0.0
        self.examples: list[Example] = []
        self.packed: Any = None  # the tables it was read from, where it comes from a file
        self._by_name: dict[tuple[int, str], Node] = {}

    def __getitem__(self, key: str | tuple[int, str]) -> Node:
        if isinstance(key, tuple):
            found = self._by_name.get(key)
        else:
            found = next((n for s in reversed(self.steps) if (n := self._by_name.get((s.index, key)))), None)
        if found is None:
            name = key[1] if isinstance(key, tuple) else key
            hint = near(name, {known for _, known in self._by_name})
            raise ArgumentError(f"recording: there is no node {name!r}{hint or '; see recording.nodes'}")
        return found

    def rename(self, names: dict[Node, str]) -> None:
        """Gives nodes other names, which no other node of their step may have."""
        for node in names:
            self._by_name.pop((node.step, node.name), None)
        for node, name in names.items():
            if (node.step, name) in self._by_name:
                raise ArgumentError(f"recording: {name!r} is the name of another node")
            node.name = name
            self._by_name[node.step, name] = node

    @property
    def updates(self) -> list[Update]:
        """What optimizers did, in all steps."""
        return [update for step in self.steps for update in step.updates]

    def kept_bytes(self) -> list[int]:
        """The bytes that the graph keeps for its reverse rules, after each event."""
        kept, found = 0, []
        for event in self.events:
            kept += event.bytes if event.kind is SAVE else -event.bytes if event.kind is FREE else 0
            found.append(kept)
        return found

    @property
    def peak_bytes(self) -> int:
        """The most bytes that were kept for reverse rules at any moment, beyond the parameters."""
        return max(self.kept_bytes(), default=0)

    def __repr__(self) -> str:
        steps = f"{len(self.steps)} step" + ("s" if len(self.steps) != 1 else "")
        return f"<recording of {steps}: {len(self.nodes)} nodes, {len(self.events)} events>"
