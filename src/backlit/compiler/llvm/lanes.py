"""Lanes of a vector that are computed one at a time, because few ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def lane_by_lane(
    lanes: int, scalar: str, asked: str, common: str, operands: Sequence[str], one: Callable[..., Sequence[str]]
) -> list[str]:
    """The end of a function that gives `common`, but what `one` computes in the lanes in which `asked` holds.

    `one` gives, for the names of one lane of the `operands`, the instructions that leave the value in `%found`. The block in
    which this begins is called `entry`. A vector in which no lane asks costs a comparison.
    """
    if lanes == 1:
        return [
            f"  br i1 {asked}, label %slow, label %done",
            "slow:",
            *one(*operands),
            f"  ret {scalar} %found",
            "done:",
            f"  ret {scalar} {common}",
        ]
    vector, truth = f"<{lanes} x {scalar}>", f"<{lanes} x i1>"
    names = [f"%one.{number}" for number in range(len(operands))]
    return [
        f"  %mask = bitcast {truth} {asked} to i{lanes}",
        f"  %none = icmp eq i{lanes} %mask, 0",
        "  br i1 %none, label %done, label %next",
        "next:",
        "  %k = phi i32 [ 0, %entry ], [ %following, %joined ]",
        f"  %so_far = phi {vector} [ {common}, %entry ], [ %value, %joined ]",
        f"  %asked = extractelement {truth} {asked}, i32 %k",
        "  br i1 %asked, label %slow, label %joined",
        "slow:",
        *(f"  {name} = extractelement {vector} {x}, i32 %k" for name, x in zip(names, operands, strict=True)),
        *one(*names),
        f"  %with = insertelement {vector} %so_far, {scalar} %found, i32 %k",
        "  br label %joined",
        "joined:",
        f"  %value = phi {vector} [ %so_far, %next ], [ %with, %slow ]",
        "  %following = add i32 %k, 1",
        f"  %more = icmp ult i32 %following, {lanes}",
        "  br i1 %more, label %next, label %done",
        "done:",
        f"  %result = phi {vector} [ {common}, %entry ], [ %value, %joined ]",
        f"  ret {vector} %result",
    ]
