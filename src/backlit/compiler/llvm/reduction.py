"""The remainder of large arguments after multiples of pi/2 in LLVM IR, by integers, exact to more than any format shows.

|x| = m 2^e with m an integer of 53 bits. Bits of 2/pi that give multiples of 4 are left out; the next 192 times m give n mod 4
and 190 bits of the fraction (Payne and Hanek, SIGNUM Newsletter 18, 1983). The double nearest to a multiple of pi/2 is about
2^-61 from it, relative to pi/2, and the product is off by 2^-137 at most.
"""

from __future__ import annotations

from backlit.compiler.llvm.writer import Index, Writer

# 2 / pi in words of 64 bits, behind the point; tests compute it again.
TWO_OVER_PI = (
    0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041, 0xFE5163ABDEBBC561, 0xB7246E3A424DD2E0,
    0x06492EEA09D1921C, 0xFE1DEB1CB129A73E, 0xE88235F52EBB4484, 0xE99C7026B45F7E41, 0x3991D639835339F4,
    0x9C845F8BBDF9283B, 0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7, 0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB, 0xF0CFBC209AF4361D,
)  # fmt: skip
HALF_PI = 0xC90FDAA22168C235  # pi / 2 times 2^63


def table() -> str:
    """The definition of the constant that `remainder` reads."""
    words = ", ".join(f"i64 {word}" for word in TWO_OVER_PI)
    return f"@backlit.two_over_pi = internal constant [{len(TWO_OVER_PI)} x i64] [{words}]"


def remainder(w: Writer, x: str) -> tuple[str, str, str]:
    """n mod 4 and r as a sum of two, with |x| = n pi/2 + r, for one double from 2^12 on that is finite."""
    bits = w.new(f"bitcast double {x} to i64")
    biased = w.new(f"lshr i64 {w.new(f'and i64 {bits}, {2**63 - 1}')}, 52")
    m = w.new(f"or i64 {w.new(f'and i64 {bits}, {2**52 - 1}')}, {2**52}")
    exponent = w.sub(biased, 1023 + 52)
    skipped = w.greatest(w.sub(exponent, 2), 0)
    behind = w.greatest(w.sub(2, exponent), 0)
    tail = _tail(w, skipped)
    whole = w.new(f"mul i256 {w.new(f'zext i64 {m} to i256')}, {tail}")
    whole = w.new(f"lshr i256 {whole}, {w.new(f'zext i64 {behind} to i256')}")
    # in units of 2^-190 of pi/2, less multiples of 4
    turned = w.new(f"trunc i256 {whole} to i192")
    nearest = w.new(f"add i192 {turned}, {1 << 189}")
    n = w.new(f"trunc i192 {w.new(f'lshr i192 {nearest}, 190')} to i64")
    rest = w.new(f"sub i192 {turned}, {w.new(f'and i192 {nearest}, {3 << 190}')}")
    below = w.new(f"icmp slt i192 {rest}, 0")
    rest = w.new(f"select i1 {below}, i192 {w.new(f'sub i192 0, {rest}')}, i192 {rest}")
    zeros = w.new(f"call i192 @llvm.ctlz.i192(i192 {rest}, i1 false)")
    leading = w.new(f"lshr i192 {w.new(f'shl i192 {rest}, {zeros}')}, 128")
    wide = w.new(f"mul i128 {w.new(f'trunc i192 {leading} to i128')}, {HALF_PI}")
    # r = product 2^(-61 - zeros), of whose bits a double holds the first 53
    product = w.new(f"trunc i128 {w.new(f'lshr i128 {wide}, 64')} to i64")
    places = w.sub(1023 - 61, w.new(f"trunc i192 {zeros} to i64"))
    scale = w.new(f"bitcast i64 {w.new(f'shl i64 {places}, 52')} to double")
    scale = w.new(f"select i1 {below}, double {w.new(f'fneg double {scale}')}, double {scale}")
    parts = []
    for mask in (-2048, 2047):
        part = w.new(f"uitofp i64 {w.new(f'and i64 {product}, {mask}')} to double")
        parts.append(w.new(f"fmul double {part}, {scale}"))
    return n, parts[0], parts[1]


def _tail(w: Writer, skipped: Index) -> str:
    """192 bits of 2/pi behind the first `skipped`."""
    tail = "0"
    for k in range(4):
        at = w.new(f"getelementptr i64, ptr @backlit.two_over_pi, i64 {w.add(w.div(skipped, 64), k)}")
        part = w.new(f"zext i64 {w.new(f'load i64, ptr {at}')} to i256")
        tail = w.new(f"or i256 {w.new(f'shl i256 {tail}, 64')}, {part}")
    shift = w.new(f"zext i64 {w.rem(skipped, 64)} to i256")
    return w.new(f"lshr i256 {w.new(f'shl i256 {tail}, {shift}')}, 64")
