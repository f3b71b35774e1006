"""The way into a program as one native function: checks that all is as it was, addresses, the run, what it leaves behind.

`enter` is a function as CPython calls it, `(self, arguments, how many)`. The data of the array `self` are the words of
`HEAD`, most of which lead to tables of words; the first argument is a list of arrays that the caller has made for what the
program writes, the others are its tensors. It is the same for every program and does three things in turn:

- looks whether variables, containers and tensors are as they were; where one is not, nothing has happened: None;
- runs the program, up to where the byte at `flag` says that an index is out of bounds: None, and nothing is written;
- writes what the program leaves behind by exchanging references, which cannot fail: True.

While a program runs without the GIL, `running` counts it. A second one that would begin meanwhile is let in when its caller
has seen that they have nothing in common (`allowed` is then the number of beginnings so far, `begun`); else it finds Ellipsis.
"""

from __future__ import annotations

from backlit.compiler import layout as at
from backlit.compiler.layout import Layout
from backlit.compiler.llvm.writer import Writer

HEAD = (
    "process", "variables", "n_variables", "slots", "n_slots", "lists", "n_lists", "dicts", "n_dicts", "n_arguments",
    "arguments", "cells", "n_cells", "muted", "places", "n_places", "swaps", "n_swaps", "marks", "n_marks",
    "counters", "n_counters", "calls", "n_calls", "dynamic", "flag", "releases", "busy", "allowed", "stamped",
)  # fmt: skip
PROCESS = (
    "get_item", "next", "get_context", "save_thread", "restore_thread", "increase", "decrease", "new_long", "set_attribute",
    "node", "array", "tensor", "none", "true", "wait", "zero", "muting", "running", "begun", "held",
)  # fmt: skip
# tensor, its node, flags, place in `dynamic`, specification, type; the tensor and the array found; a second place
CELL_WORDS = 9
SPEC_WORDS = 4  # number of axes, their lengths, dtype, type of a scalar
CALL_WORDS = 7  # function and operands
# flags: it requires grad; its `.grad` is meant; its array is written over; it has no gradient; the caller looks at its value;
# it is no tensor but an array; it must be this very tensor
RECORDED, GRADIENT, OVER, ABSENT, LOOSE, BARE, FIXED = 1, 2, 4, 8, 16, 32, 64


class _Checks(Writer):
    """A function that leaves for `miss` at the first thing that is not as expected."""

    def expect(self, condition: str, otherwise: str = "miss") -> None:
        """Goes on where `condition` holds."""
        self._count += 1
        name = f"on{self._count}"
        self.do(f"br i1 {condition}, label %{name}, label %{otherwise}")
        self._begin(name)

    def same(self, a: str, b: str, typed: str = "ptr") -> str:
        return self.new(f"icmp eq {typed} {a}, {b}")

    def place(self, base: str, offset: int) -> str:
        """The address some bytes further on."""
        return self.new(f"getelementptr i8, ptr {base}, i64 {offset}")

    def read(self, base: str, offset: int, typed: str = "ptr") -> str:
        return self.new(f"load {typed}, ptr {self.place(base, offset)}")

    def row(self, table: str, number: str | int, words: int) -> str:
        return self.new(f"getelementptr i64, ptr {table}, i64 {self.mul(number, words)}")


class _Entry:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.w = _Checks("enter", "ptr %self, ptr %given, i64 %n")
        self.head = self.w.read("%self", at.DATA)
        self.list = self.w.read("%given", 0)
        self.leaves = self.w.place("%given", 8)
        self.process = self.w.read(self.head, 0)

    def own(self, name: str, typed: str = "ptr") -> str:
        return self.w.read(self.head, 8 * HEAD.index(name), typed)

    def common(self, name: str, typed: str = "ptr") -> str:
        return self.w.read(self.process, 8 * PROCESS.index(name), typed)

    def text(self) -> str:
        w = self.w
        self.n = self.own("n_arguments", "i64")
        w.expect(w.same(w.new("sub i64 %n, 1"), self.n, "i64"))
        self._wait()
        self._mode()
        self._variables()
        self._slots()
        self._lists()
        self._dicts()
        self._tensors()
        self._apart()
        self._places()
        self._run()
        self._swap()
        self._mark()
        self._count()
        ends = []
        for label, found in (("end", "true"), ("miss", "none"), ("wait", "wait")):
            if label != "end":
                w._begin(label)
            result = self.common(found)
            w.do(f"call void {self.common('increase')}(ptr {result})")
            ends.append(result)
            w.do(f"ret ptr {result}")
        body = "\n".join([w.lines[0], *w._entry, *w.lines[1:]])
        return f"define ptr @enter({w.parameters}) #0 {{\n{body}\n}}"

    def _wait(self) -> None:
        """This program, and others that might use the same tensors, must not be running."""
        w = self.w
        w.expect(w.same(w.read(self.own("busy"), 0, "i64"), "0", "i64"), "wait")
        begun = w.read(self.common("begun"), 0, "i64")
        w.expect(w.same(w.read(self.common("held"), 0, "i64"), "0", "i64"), "wait")
        alone = w.same(w.read(self.common("running"), 0, "i64"), "0", "i64")
        allowed = w.same(self.own("allowed", "i64"), begun, "i64")
        w.expect(w.new(f"or i1 {alone}, {allowed}"), "wait")
        with w.only_if(
            w.new(f"icmp ne i64 {self.own('stamped', 'i64')}, 0")
        ):  # nobody has begun since the caller looked
            stamp = w.read(w.read(w.read(self.list, at.LIST_ITEMS), 0), at.DATA)
            w.expect(w.same(w.read(stamp, 0, "i64"), begun, "i64"), "wait")

    def _mode(self) -> None:
        """Whether ops are recorded here is the same: the level in the context variable is 0, or is not."""
        w = self.w
        room = w.room("ptr", 1)
        w.new(f"call i32 {self.common('get_context')}(ptr {self.common('muting')}, ptr null, ptr {room})")
        level = w.new(f"load ptr, ptr {room}")
        w.do(f"call void {self.common('decrease')}(ptr {level})")  # which others hold
        muted = w.new(f"icmp ne ptr {level}, {self.common('zero')}")
        w.expect(w.same(w.new(f"zext i1 {muted} to i64"), self.own("muted", "i64"), "i64"))

    def _variables(self) -> None:
        w, look = self.w, self.common("get_item")
        with w.loop(0, self.own("n_variables", "i64")) as loop:
            row = w.row(self.own("variables"), loop.i, 3)
            found = w.new(f"call ptr {look}(ptr {w.read(row, 0)}, ptr {w.read(row, 8)})")
            w.expect(w.same(found, w.read(row, 16)))

    def _slots(self) -> None:
        w = self.w
        with w.loop(0, self.own("n_slots", "i64")) as loop:
            row = w.row(self.own("slots"), loop.i, 2)
            w.expect(w.same(w.read(w.read(row, 0), 0), w.read(row, 8)))

    def _lists(self) -> None:
        w = self.w
        with w.loop(0, self.own("n_lists", "i64")) as loop:
            row = w.row(self.own("lists"), loop.i, 3)
            found, n, items = w.read(row, 0), w.read(row, 8, "i64"), w.read(row, 16)
            w.expect(w.same(w.read(found, at.LIST_SIZE, "i64"), n, "i64"))
            its = w.read(found, at.LIST_ITEMS)
            with w.loop(0, n) as inner:
                w.expect(w.same(w.read(w.row(its, inner.i, 1), 0), w.read(w.row(items, inner.i, 1), 0)))

    def _dicts(self) -> None:
        w, step = self.w, self.common("next")
        place, key, value = w.room("i64", 1), w.room("ptr", 1), w.room("ptr", 1)
        with w.loop(0, self.own("n_dicts", "i64")) as loop:
            row = w.row(self.own("dicts"), loop.i, 3)
            table, n, items = w.read(row, 0), w.read(row, 8, "i64"), w.read(row, 16)
            call = f"call i32 {step}(ptr {table}, ptr {place}, ptr {key}, ptr {value})"
            w.do(f"store i64 0, ptr {place}")
            with w.loop(0, n) as inner:
                w.expect(w.same(w.new(call), "1", "i32"))
                item = w.row(items, inner.i, 2)
                w.expect(w.same(w.read(key, 0), w.read(item, 0)))
                w.expect(w.same(w.read(value, 0), w.read(item, 8)))
            w.expect(w.same(w.new(call), "0", "i32"))

    def _tensors(self) -> None:
        w = self.w
        arguments = self.own("arguments")
        with w.loop(0, self.n) as loop:
            row = w.row(arguments, loop.i, CELL_WORDS)
            tensor = w.read(w.row(self.leaves, loop.i, 1), 0)
            w.expect(w.same(w.read(tensor, at.TYPE), w.read(row, 40)))
            with w.only_if(self._has(w.read(row, 16, "i64"), FIXED)):
                w.expect(w.same(tensor, w.read(row, 0)))
            w.do(f"store ptr {tensor}, ptr {w.place(row, 48)}")
            self._tensor(row, tensor)
        with w.loop(0, self.own("n_cells", "i64")) as loop:
            row = w.row(self.own("cells"), loop.i, CELL_WORDS)
            self._tensor(row, w.read(row, 0))

    def _tensor(self, row: str, tensor: str) -> None:
        """Checks one tensor and notes where its data lie."""
        w, slots = self.w, self.layout
        flags = w.read(row, 16, "i64")
        itself, room = w.room("ptr", 1), w.room("ptr", 1)
        w.do(f"store ptr {tensor}, ptr {itself}")
        w.do(f"store ptr {itself}, ptr {room}")
        with w.only_if(w.new(f"xor i1 {self._has(flags, BARE)}, true")):
            self._node(row, tensor, flags)
            with w.only_if(self._has(flags, ABSENT)):
                w.expect(w.same(w.read(tensor, slots.grad), self.common("none")))
            w.do(f"store ptr {w.place(tensor, slots.value)}, ptr {room}")
            with w.only_if(self._has(flags, GRADIENT)):
                its = w.read(tensor, slots.grad)
                w.expect(w.same(w.read(its, at.TYPE), self.common("tensor")))
                w.do(f"store ptr {w.place(its, slots.value)}, ptr {room}")
        value = w.read(w.new(f"load ptr, ptr {room}"), 0)
        w.do(f"store ptr {value}, ptr {w.place(row, 56)}")
        firm = w.new(f"xor i1 {self._has(flags, LOOSE)}, true")
        with w.only_if(firm):
            self._address(row, value, flags)

    def _node(self, row: str, tensor: str, flags: str) -> None:
        """Whether ops on it are recorded is as it was, and it is no part of a graph."""
        w, slots = self.w, self.layout
        node = w.read(tensor, slots.node)
        with w.only_if(w.new(f"icmp ne ptr {node}, {w.read(row, 8)}")):
            recorded = w.same(w.read(node, at.TYPE), self.common("node"))
            w.expect(w.same(recorded, self._has(flags, RECORDED), "i1"))
            with w.only_if(recorded):
                w.expect(w.same(w.read(node, slots.plan), self.common("none")))

    def _address(self, row: str, value: str, flags: str) -> None:
        """Checks an array or scalar and notes where it lies."""
        w = self.w
        over = self._has(flags, OVER)
        spec, data = w.read(row, 32), w.room("ptr", 1)
        kind = w.read(value, at.TYPE)
        is_array = w.same(kind, self.common("array"))
        with w.only_if(is_array):
            ndim = w.read(value, at.NDIM, "i32")
            n = w.new(f"sext i32 {ndim} to i64")
            w.expect(w.same(n, w.read(spec, 0, "i64"), "i64"))
            w.expect(w.same(w.read(value, at.DTYPE), w.read(spec, 16)))
            dims, lengths = w.read(value, at.DIMS), w.read(spec, 8)
            with w.loop(0, n) as loop:
                w.expect(
                    w.same(w.read(w.row(dims, loop.i, 1), 0, "i64"), w.read(w.row(lengths, loop.i, 1), 0, "i64"), "i64")
                )
            usual = at.CONTIGUOUS | at.ALIGNED
            own = usual | at.OWN | at.WRITEABLE
            needed = w.new(f"select i1 {over}, i32 {own}, i32 {usual}")
            w.expect(w.same(w.new(f"and i32 {w.read(value, at.FLAGS, 'i32')}, {needed}"), needed, "i32"))
            with w.only_if(over):  # nobody else may see it
                w.expect(w.same(w.read(value, 0, "i64"), "1", "i64"))
                w.expect(w.same(w.read(value, at.BASE), "null"))
            w.do(f"store ptr {w.read(value, at.DATA)}, ptr {data}")
        with w.only_if(w.new(f"xor i1 {is_array}, true")):
            w.expect(w.same(kind, w.read(spec, 24)))
            w.expect(w.new(f"xor i1 {over}, true"))
            w.do(f"store ptr {w.place(value, at.SCALAR)}, ptr {data}")
        found = w.new(f"load ptr, ptr {data}")
        for offset in (24, 64):
            place = w.read(row, offset, "i64")
            with w.only_if(w.new(f"icmp sge i64 {place}, 0")):
                w.do(f"store ptr {found}, ptr {w.row(self.own('dynamic'), place, 1)}")

    def _has(self, flags: str, flag: int) -> str:
        return self.w.new(f"icmp ne i64 {self.w.new(f'and i64 {flags}, {flag}')}, 0")

    def _apart(self) -> None:
        """No argument is there twice or is one of the other tensors."""
        w = self.w
        arguments, cells = self.own("arguments"), self.own("cells")
        n_cells = self.own("n_cells", "i64")
        with w.loop(0, self.n) as loop:
            row = w.row(arguments, loop.i, CELL_WORDS)
            tensor = w.read(row, 48)
            with w.only_if(w.new(f"xor i1 {self._has(w.read(row, 16, 'i64'), BARE)}, true")):
                with w.loop(0, loop.i) as inner:
                    its = w.read(w.row(arguments, inner.i, CELL_WORDS), 48)
                    w.expect(w.new(f"icmp ne ptr {tensor}, {its}"))
                with w.loop(0, n_cells) as inner:
                    its = w.read(w.row(cells, inner.i, CELL_WORDS), 0)
                    w.expect(w.new(f"icmp ne ptr {tensor}, {its}"))

    def _places(self) -> None:
        """Where the arrays lie that the caller has made."""
        w = self.w
        items = w.read(self.list, at.LIST_ITEMS)
        with w.loop(0, self.own("n_places", "i64")) as loop:
            row = w.row(self.own("places"), loop.i, 2)  # number in the list, place in `dynamic`
            array = w.read(w.row(items, w.read(row, 0, "i64"), 1), 0)
            room = w.room("ptr", 1)
            w.do(f"store ptr {array}, ptr {room}")
            with w.only_if(w.same(w.read(array, at.TYPE), self.common("tensor"))):
                w.do(f"store ptr {w.read(array, self.layout.value)}, ptr {room}")
            data = w.read(w.new(f"load ptr, ptr {room}"), at.DATA)
            w.do(f"store ptr {data}, ptr {w.row(self.own('dynamic'), w.read(row, 8, 'i64'), 1)}")

    def _run(self) -> None:
        w = self.w
        releases = w.new(f"icmp ne i64 {self.own('releases', 'i64')}, 0")
        running, begun, busy = self.common("running"), self.common("begun"), self.own("busy")
        state = w.room("ptr", 1)
        w.do(f"store i64 {w.add(w.read(begun, 0, 'i64'), 1)}, ptr {begun}")
        with w.only_if(releases):
            w.do(f"store i64 {w.add(w.read(running, 0, 'i64'), 1)}, ptr {running}")
            w.do(f"store i64 1, ptr {busy}")
            self._hold("increase")
            save = self.common("save_thread")
            w.do(f"store ptr {w.new(f'call ptr {save}()')}, ptr {state}")
        flag = self.own("flag")
        w.do(f"store i8 0, ptr {flag}")
        with w.loop(0, self.own("n_calls", "i64")) as loop:
            row = w.row(self.own("calls"), loop.i, CALL_WORDS)
            operands = ", ".join(f"i64 {w.read(row, 8 * k, 'i64')}" for k in range(1, CALL_WORDS))
            with w.only_if(w.same(w.read(flag, 0, "i8"), "0", "i8")):
                w.do(f"call void {w.read(row, 0)}({operands})")
        with w.only_if(releases):
            w.do(f"call void {self.common('restore_thread')}(ptr {w.new(f'load ptr, ptr {state}')})")
            w.do(f"store i64 {w.sub(w.read(running, 0, 'i64'), 1)}, ptr {running}")
            w.do(f"store i64 0, ptr {busy}")
            self._hold("decrease")
        w.expect(w.same(w.read(flag, 0, "i8"), "0", "i8"))

    def _hold(self, how: str) -> None:
        """Arrays stay where they are while other threads may give tensors other ones."""
        w, call = self.w, self.common(how)
        for rows, n in ((self.own("arguments"), self.n), (self.own("cells"), self.own("n_cells", "i64"))):
            with w.loop(0, n) as loop:
                w.do(f"call void {call}(ptr {w.read(w.row(rows, loop.i, CELL_WORDS), 56)})")

    def _swap(self) -> None:
        """New arrays and gradients go into the tensors; what they replace goes where they came from."""
        w = self.w
        items = w.read(self.list, at.LIST_ITEMS)
        with w.loop(0, self.own("n_swaps", "i64")) as loop:
            row = w.row(
                self.own("swaps"), loop.i, 3
            )  # where the tensor is noted, offset of the slot, number in the list
            tensor = w.read(w.read(row, 0), 0)
            slot = w.new(f"getelementptr i8, ptr {tensor}, i64 {w.read(row, 8, 'i64')}")
            item = w.row(items, w.read(row, 16, "i64"), 1)
            old, new = w.read(slot, 0), w.read(item, 0)
            w.do(f"store ptr {new}, ptr {slot}")
            w.do(f"store ptr {old}, ptr {item}")

    def _mark(self) -> None:
        """Gradients that were used up, or set to None."""
        w = self.w
        with w.loop(0, self.own("n_marks", "i64")) as loop:
            row = w.row(self.own("marks"), loop.i, 2)  # where the tensor is noted, the mark
            slot = w.place(w.read(w.read(row, 0), 0), self.layout.grad)
            old, mark = w.read(slot, 0), w.read(row, 8)
            with w.only_if(w.new(f"icmp ne ptr {old}, {mark}")):
                w.do(f"call void {self.common('increase')}(ptr {mark})")
                w.do(f"store ptr {mark}, ptr {slot}")
                w.do(f"call void {self.common('decrease')}(ptr {old})")

    def _count(self) -> None:
        """Counters of random streams."""
        w = self.w
        with w.loop(0, self.own("n_counters", "i64")) as loop:
            row = w.row(
                self.own("counters"), loop.i, 3
            )  # the generator, the name of the attribute, where the number lies
            value = w.read(w.read(row, 16), 0, "i64")
            number = w.new(f"call ptr {self.common('new_long')}(i64 {value})")
            w.new(f"call i32 {self.common('set_attribute')}(ptr {w.read(row, 0)}, ptr {w.read(row, 8)}, ptr {number})")
            w.do(f"call void {self.common('decrease')}(ptr {number})")


def entry_text(layout: Layout) -> str:
    """The IR of `enter`."""
    return _Entry(layout).text()
