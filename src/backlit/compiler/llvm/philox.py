"""Random words in native code: blocks of Philox 4x64-10 (Salmon et al., SC 2011), with NumPy's numbering of blocks."""

from __future__ import annotations

from backlit.compiler.llvm.kernel import PARAMETERS, Kernel, Operand
from backlit.compiler.llvm.writer import Writer

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # by which the two words of the key grow from round to round
_ROUNDS = 10
_GRAIN = 1024  # blocks, some tens of microseconds


def philox_kernel(name: str, n: int, key: Operand, counter: Operand, out: Operand) -> Kernel:
    """The first `n` words of a stream from the block after `counter` on; a unit is a block of four words."""
    w = Writer(name, PARAMETERS)
    source, first, target = key.pointer(w, "i64"), counter.pointer(w, "i64"), out.pointer(w, "i64")
    keys = [w.load_scalar("i64", w.at(source, "i64", k)) for k in range(2)]
    schedule = [keys]
    for _ in range(_ROUNDS - 1):
        keys = [w.new(f"add i64 {k}, {_signed(step)}") for k, step in zip(keys, _STEPS, strict=True)]
        schedule.append(keys)
    start = w.load_scalar("i64", first)
    with w.loop("%low", "%high") as loop:
        low = w.new(f"add i64 {start}, {w.add(loop.i, 1)}")
        carry = w.new(f"zext i1 {w.new(f'icmp ult i64 {low}, {start}')} to i64")
        words = [low, carry, "0", "0"]
        for k0, k1 in schedule:
            high0, low0 = _product(w, words[0], _MULTIPLIERS[0])
            high1, low1 = _product(w, words[2], _MULTIPLIERS[1])
            words = [_mixed(w, high1, words[1], k0), low1, _mixed(w, high0, words[3], k1), low0]
        for k, word in enumerate(words):
            place = w.add(w.mul(loop.i, 4), k)
            if n % 4 == 0:
                w.store("i64", word, w.at(target, "i64", place))
            else:
                with w.only_if(w.new(f"icmp slt i64 {place}, {n}")):
                    w.store("i64", word, w.at(target, "i64", place))
    return Kernel(name, w.text(), -(-n // 4), _GRAIN)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _product(w: Writer, a: str, factor: int) -> tuple[str, str]:
    """The high and the low half of a product of 128 bits."""
    wide = w.new(f"mul i128 {w.new(f'zext i64 {a} to i128')}, {factor}")
    return w.new(f"trunc i128 {w.new(f'lshr i128 {wide}, 64')} to i64"), w.new(f"trunc i128 {wide} to i64")


def _mixed(w: Writer, a: str, b: str, c: str) -> str:
    return w.new(f"xor i64 {w.new(f'xor i64 {a}, {b}')}, {c}")
