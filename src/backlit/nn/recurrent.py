"""Recurrent layers, with PyTorch's names and layouts of parameters and its order of gates.

Products with the input are made for all steps at once; the recurrence itself is a `scan`, one native loop when compiled.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from backlit import functional as F
from backlit.core.errors import ArgumentError, ShapeError
from backlit.core.op import shown
from backlit.core.rng import Generator, default_generator
from backlit.core.source import here
from backlit.core.tensor import Tensor, as_tensor
from backlit.functional.control import scan
from backlit.nn.module import Module, Parameter
from backlit.nn.utils.rnn import PackedSequence, pad_packed_sequence
from backlit.ops import elementwise as ew
from backlit.ops.shape import concat, expand_dims, matrix_transpose, stack

State = tuple[Tensor, ...]


def _lstm(gates: Tensor, state: State) -> State:
    """The hidden and the cell state from the sums of the gates i, f, g, o."""
    i, f, g, o = _parts(gates, 4)
    cell = F.sigmoid(f) * state[1] + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(cell), cell


def _gru(from_input: Tensor, from_hidden: Tensor, hidden: Tensor) -> Tensor:
    """The hidden state from the parts of the gates r, z, n that come from the input and from the state."""
    (r, z, n), (hr, hz, hn) = _parts(from_input, 3), _parts(from_hidden, 3)
    update = F.sigmoid(z + hz)
    candidate = F.tanh(n + F.sigmoid(r + hr) * hn)
    return candidate + update * (hidden - candidate)


def _parts(x: Tensor, n: int) -> list[Tensor]:
    size = x.shape[-1] // n
    return [x[..., k * size : (k + 1) * size] for k in range(n)]


def _activation(nonlinearity: str, who: str) -> Callable[[Tensor], Tensor]:
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"{who}: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    return F.tanh if nonlinearity == "tanh" else F.relu


class _Recurrent(Module, ABC):
    """Layers of one kind on top of each other, each in one direction or both."""

    n_gates: ClassVar[int]

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool, dropout: float,
        bidirectional: bool, proj_size: int, dtype: Any, generator: Generator | None,
    ) -> None:  # fmt: skip
        super().__init__()
        who = type(self).__name__
        if num_layers < 1 or hidden_size < 1:
            raise ArgumentError(
                f"{who}: expected hidden_size and num_layers of at least 1, got {hidden_size}, {num_layers}"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ArgumentError(f"{who}: dropout must be between 0 and 1, got {dropout}")
        if not 0 <= proj_size < hidden_size:
            raise ArgumentError(f"{who}: proj_size must be below hidden_size {hidden_size}, got {proj_size}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        draws = default_generator() if generator is None else generator
        bound = 1.0 / math.sqrt(hidden_size)
        given = proj_size or hidden_size
        rows = self.n_gates * hidden_size
        for layer in range(num_layers):
            n_in = input_size if layer == 0 else given * self.n_directions
            for end in self._ends(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, n_in), "weight_hh": (rows, given)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
                for name, shape in shapes.items():
                    setattr(self, f"{name}_{end}", Parameter(draws.uniform(shape, -bound, bound, dtype)))

    @property
    def n_directions(self) -> int:
        """1, or 2 where it also goes back."""
        return 2 if self.bidirectional else 1

    def _ends(self, layer: int) -> list[str]:
        return [f"l{layer}", f"l{layer}_reverse"][: self.n_directions]

    @abstractmethod
    def _step(self, end: str) -> Callable[[State, Tensor], State]:
        """From the state and what comes from the input to the next state."""

    def _from_input(self, end: str, x: Tensor) -> Tensor:
        """Products with the input at all steps, with the biases that can be added at once."""
        both = self.bias and self.n_gates != 3
        bias = getattr(self, f"bias_ih_{end}") if self.bias else None
        return F.linear(x, getattr(self, f"weight_ih_{end}"), bias + getattr(self, f"bias_hh_{end}") if both else bias)

    def _run(self, x: Tensor, start: list[Tensor], lengths: Any) -> tuple[Tensor, list[Tensor]]:
        """`x: [steps, batch, input_size]` and the states `[layers directions, batch, size]` to outputs and last states."""
        steps = np.arange(x.shape[0])
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            outs = []
            for k, end in enumerate(self._ends(layer)):
                at = layer * self.n_directions + k
                step = self._step(end)

                def guarded(state: State, xs: tuple[Tensor, Tensor], step: Any = step) -> tuple[State, Tensor]:
                    after = step(state, xs[1])
                    if lengths is None:
                        return after, after[0]
                    inside = expand_dims(ew.less(xs[0], lengths), axis=1)
                    after = tuple(ew.where(inside, a, s) for a, s in zip(after, state, strict=True))
                    return after, ew.where(inside, after[0], 0.0)

                init = tuple(s[at] for s in start)
                found, out = scan(guarded, init, (steps, self._from_input(end, x)), reverse=k == 1)
                outs.append(out)
                last.append(list(found))
            x = outs[0] if len(outs) == 1 else concat(outs, axis=-1)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, [stack([states[i] for states in last]) for i in range(len(start))]

    def _called(self, input: Any, hx: Any, sizes: tuple[int, ...], lengths: Any) -> tuple[Any, list[Tensor]]:
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ArgumentError(f"{type(self).__name__}: packed sequences have lengths of their own{here()}")
            padded, lengths = pad_packed_sequence(input, self.batch_first)
            out, last = self._called(padded, hx, sizes, lengths)
            steps, numbers = input.places()
            return input.with_data(out[(numbers, steps) if self.batch_first else (steps, numbers)]), last
        who, x = type(self).__name__, as_tensor(input)
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{who}: expected [..., batch, {self.input_size}] with 2 or 3 axes, got {shown(x)}{here()}"
            )
        single = x.ndim == 2
        x = expand_dims(x, axis=1) if single else x.permute((1, 0, 2)) if self.batch_first else x
        n = self.num_layers * self.n_directions
        shapes = [(n, x.shape[1], size) for size in sizes]
        if hx is None:
            start = [Tensor(np.zeros(shape, x.dtype)) for shape in shapes]
        else:
            start = [as_tensor(h) for h in hx]
            start = [expand_dims(h, axis=1) for h in start] if single else start
            if [h.shape for h in start] != shapes:
                raise ShapeError(
                    f"{who}: expected a state {' and '.join(map(str, map(list, shapes)))}, got {', '.join(map(shown, start))}{here()}"
                )
        if lengths is not None:
            lengths = as_tensor(lengths)
            if lengths.shape != (x.shape[1],) or lengths.dtype.kind not in "iu":
                raise ShapeError(f"{who}: lengths must be integers [{x.shape[1]}], got {shown(lengths)}{here()}")
        out, last = self._run(x, start, lengths)
        if single:
            return out[:, 0], [s[:, 0] for s in last]
        return out.permute((1, 0, 2)) if self.batch_first else out, last

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        shown += [
            f"{name}={value}"
            for name, value, usual in (
                ("proj_size", self.proj_size, 0), ("num_layers", self.num_layers, 1), ("bias", self.bias, True),
                ("batch_first", self.batch_first, False), ("dropout", self.dropout, 0),
                ("bidirectional", self.bidirectional, False),
            )
            if value != usual
        ]  # fmt: skip
        return ", ".join(shown)


def _product(module: Module, name: str, end: str, x: Tensor) -> Tensor:
    return x @ matrix_transpose(getattr(module, f"{name}_{end}"))


class RNN(_Recurrent):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), step by step (Elman, 1990); `nonlinearity` is 'tanh' or 'relu'.

    Shapes:
      input: [steps, batch, input_size], [batch, steps, input_size] with `batch_first`, or [steps, input_size];
      state: [num_layers directions, batch, hidden_size], zeros unless given;
      result: the outputs [..., directions hidden_size] of the last layer at all steps, and the last state of each layer.

    Parameters `weight_ih_l0: [hidden_size, input_size]`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0` and so on for each layer and,
    with `_reverse` behind, direction, start uniform in ±1/sqrt(hidden_size). `lengths: [batch]` says how many steps of each
    example count: beyond them outputs are 0, the state stays, and the way back begins there. A `PackedSequence` gives one; it is
    padded inside, so that its steps cost what those of the longest sequence do. `dropout` is between layers.

    Raises:
      ShapeError: the input, the state or the lengths do not fit.
      ArgumentError: an argument is out of range.
    """

    n_gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, dtype, generator
        )  # fmt: skip
        _activation(nonlinearity, "RNN")
        self.nonlinearity = nonlinearity

    def _step(self, end: str) -> Callable[[State, Tensor], State]:
        apply = _activation(self.nonlinearity, "RNN")
        return lambda state, x: (apply(x + _product(self, "weight_hh", end, state[0])),)

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Any, Tensor]:
        """The outputs and the last state."""
        out, last = self._called(input, None if hx is None else [hx], (self.hidden_size,), lengths)
        return out, last[0]


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al., 2014), gates in the order reset, update, new.

    n = tanh(W_in x + b_in + r (W_hn h + b_hn)) and h' = (1 - z) n + z h. Shapes, parameters and arguments are those of `RNN`,
    with three times as many rows.

    Raises:
      ShapeError: the input, the state or the lengths do not fit.
      ArgumentError: an argument is out of range.
    """

    n_gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, *, dtype: Any = None, generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, dtype, generator
        )  # fmt: skip

    def _step(self, end: str) -> Callable[[State, Tensor], State]:
        def step(state: State, x: Tensor) -> State:
            hidden = _product(self, "weight_hh", end, state[0])
            hidden = hidden + getattr(self, f"bias_hh_{end}") if self.bias else hidden
            return (_gru(x, hidden, state[0]),)

        return step

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Any, Tensor]:
        """The outputs and the last state."""
        out, last = self._called(input, None if hx is None else [hx], (self.hidden_size,), lengths)
        return out, last[0]


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order input, forget, cell, output.

    c' = f c + i g and h' = o tanh(c'). Shapes, parameters and arguments are those of `RNN`, with four times as many rows; the
    state is a pair (h, c). With `proj_size` the output is `weight_hr_l0 @ h'` of that size (Sak et al., 2014).

    Raises:
      ShapeError: the input, the state or the lengths do not fit.
      ArgumentError: an argument is out of range.
    """

    n_gates = 4

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, *, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, dtype, generator
        )  # fmt: skip

    def _step(self, end: str) -> Callable[[State, Tensor], State]:
        def step(state: State, x: Tensor) -> State:
            hidden, cell = _lstm(x + _product(self, "weight_hh", end, state[0]), state)
            return (_product(self, "weight_hr", end, hidden) if self.proj_size else hidden), cell

        return step

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        """The outputs, and the pair of last states."""
        out, last = self._called(input, hx, (self.proj_size or self.hidden_size, self.hidden_size), lengths)
        return out, (last[0], last[1])


class _Cell(Module):
    """One step: parameters as of one layer, without a number."""

    n_gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        draws = default_generator() if generator is None else generator
        bound, rows = 1.0 / math.sqrt(hidden_size) if hidden_size else 0.0, self.n_gates * hidden_size
        for name, shape in (
            ("weight_ih", (rows, input_size)), ("weight_hh", (rows, hidden_size)), ("bias_ih", (rows,)), ("bias_hh", (rows,)),
        ):  # fmt: skip
            if bias or name.startswith("weight"):
                setattr(self, name, Parameter(draws.uniform(shape, -bound, bound, dtype)))
            else:
                self.register_parameter(name, None)

    def sums(self, x: Any, hidden: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What comes from the input and from the state, and the state, zeros unless given."""
        who, x = type(self).__name__, as_tensor(x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{who}: expected [batch, {self.input_size}] or [{self.input_size}], got {shown(x)}{here()}"
            )
        shape = (*x.shape[:-1], self.hidden_size)
        hidden = Tensor(np.zeros(shape, x.dtype)) if hidden is None else as_tensor(hidden)
        if hidden.shape != shape:
            raise ShapeError(f"{who}: expected a state {list(shape)}, got {shown(hidden)}{here()}")
        return F.linear(x, self.weight_ih, self.bias_ih), F.linear(hidden, self.weight_hh, self.bias_hh), hidden

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(_Cell):
    """One step of `RNN`: `input: [batch, input_size]` and state `[batch, hidden_size]` to the next state.

    Raises:
      ShapeError: the input or the state does not fit.
    """

    n_gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *, dtype: Any = None,
        generator: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, dtype=dtype, generator=generator)
        _activation(nonlinearity, "RNNCell")
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """The next state."""
        x, h, _ = self.sums(input, hx)
        return _activation(self.nonlinearity, "RNNCell")(x + h)

    def extra_repr(self) -> str:
        """The arguments that are not the usual ones."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class GRUCell(_Cell):
    """One step of `GRU`: `input: [batch, input_size]` and state `[batch, hidden_size]` to the next state.

    Raises:
      ShapeError: the input or the state does not fit.
    """

    n_gates = 3

    def forward(self, input: Any, hx: Any = None) -> Tensor:
        """The next state."""
        return _gru(*self.sums(input, hx))


class LSTMCell(_Cell):
    """One step of `LSTM`: `input: [batch, input_size]` and a pair (h, c) of `[batch, hidden_size]` to the next pair.

    Raises:
      ShapeError: the input or the state does not fit.
    """

    n_gates = 4

    def forward(self, input: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        """The next pair."""
        x, h, hidden = self.sums(input, None if hx is None else hx[0])
        cell = Tensor(np.zeros(hidden.shape, hidden.dtype)) if hx is None else as_tensor(hx[1])
        if cell.shape != hidden.shape:
            raise ShapeError(f"LSTMCell: expected a cell state {list(hidden.shape)}, got {shown(cell)}{here()}")
        after = _lstm(x + h, (hidden, cell))
        return after[0], after[1]
