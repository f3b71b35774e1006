"""Kernels one by one, with a look at the processor's own clock between them."""

from __future__ import annotations

# a counter that runs at a constant rate whatever the frequency of the core, and that a program may read
COUNTER = {"aarch64": "llvm.readsteadycounter"}

_TEXT = """
declare i64 @{counter}()

define i64 @now() #0 {
  %t = call i64 @{counter}()
  ret i64 %t
}

; the same as `run` one step at a time; `block` holds where readings go, how many runs are there, how many fit, and how
; many runs there were
define void @timed(ptr %pool, ptr %program, i64 %first, i64 %last, ptr %run, ptr %block) #0 {
entry:
  %kept.at = getelementptr i64, ptr %block, i64 1
  %fit.at = getelementptr i64, ptr %block, i64 2
  %runs.at = getelementptr i64, ptr %block, i64 3
  %runs = load i64, ptr %runs.at
  %more.runs = add i64 %runs, 1
  store i64 %more.runs, ptr %runs.at
  %kept = load i64, ptr %kept.at
  %fit = load i64, ptr %fit.at
  %room = icmp slt i64 %kept, %fit
  br i1 %room, label %keep, label %plain
plain:
  call void %run(ptr %pool, ptr %program, i64 %first, i64 %last)
  ret void
keep:
  %ticks = load ptr, ptr %block
  %n = sub i64 %last, %first
  %width = add i64 %n, 1
  %start = mul i64 %kept, %width
  %row = getelementptr i64, ptr %ticks, i64 %start
  %begun = call i64 @{counter}()
  store i64 %begun, ptr %row
  br label %test
test:
  %i = phi i64 [ %first, %keep ], [ %next, %body ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %body, label %end
body:
  %next = add i64 %i, 1
  call void %run(ptr %pool, ptr %program, i64 %i, i64 %next)
  %t = call i64 @{counter}()
  %k = sub i64 %next, %first
  %at = getelementptr i64, ptr %row, i64 %k
  store i64 %t, ptr %at
  br label %test
end:
  %one.more = add i64 %kept, 1
  store i64 %one.more, ptr %kept.at
  ret void
}
"""


def clock_text(triple: str) -> str:
    """The IR of `now() -> ticks` and `timed(pool, program, first, last, run, block)`."""
    machine = triple.split("-")[0].replace("arm64", "aarch64")
    return _TEXT.replace("{counter}", COUNTER.get(machine, "llvm.readcyclecounter"))
