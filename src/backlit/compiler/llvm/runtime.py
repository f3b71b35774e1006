"""The part of every program that is the same: filling the table, running kernels one after another, sharing them out.

The threads of a pool meet in one block of memory. A kernel that is worth it is cut into chunks of units; its `ticket` holds
the number of the job and how many chunks nobody has taken yet, so that one compare-and-exchange takes a chunk of just
this job. Whoever takes part takes the next chunk, so a thread that the system does not run holds up one chunk only; the
last ones are small, so that all are done at about the same time. A worker that finds nothing spins for a while and then
sleeps in the kernel.
"""

from __future__ import annotations

import sys

from backlit.compiler.llvm.clock import COUNTER

# The memory of a pool, in words of 8 bytes; what different threads write lies on lines of its own.
TICKET, DONE, JOB, ASLEEP, WAKE, BUSY, WAITING, SPINS = 0, 16, 32, 48, 64, 80, 96, 112
POOL_WORDS = 128
PERIOD = 128  # runs, a power of two, of which two are done the other way
EARLY = 8  # in the first period two from this one on, and from its doubles: a program may take seconds for a period
CHUNKS = 8  # of a kernel for each thread, so that one that is held up leaves the others enough to do
STEP_WORDS = 7  # address, table, units, units of a large chunk, chunks, large ones, units of a small one
CHUNKS_WORD = 4
# words of a program; a kernel finds the address of these 8 bytes before its scratch
STEPS, SCRATCH, STRIDE, THREADS, WHOLE, TURN, ALONE, TIME_ONE, TIME_MANY, POOL_USED, THREADS_USED, SHARE, DIVIDE = (
    range(13)
)
PROGRAM_WORDS = 13

_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
# how a thread sleeps until a word is no longer what it was, and is woken
_SLEEP = {
    "linux": """
declare i64 @syscall(i64, ...)
define internal void @sleep(ptr %word, i32 %old) #0 {
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i64 128, i32 %old, ptr null, ptr null, i64 0)
  ret void
}
define internal void @wake(ptr %word) #0 {
  %r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i64 129, i32 2147483647, ptr null, ptr null, i64 0)
  ret void
}
""",
    "darwin": """
declare i32 @__ulock_wait(i32, ptr, i64, i32)
declare i32 @__ulock_wake(i32, ptr, i64)
define internal void @sleep(ptr %word, i32 %old) #0 {
  %wide = zext i32 %old to i64
  %r = call i32 @__ulock_wait(i32 1, ptr %word, i64 %wide, i32 0)
  ret void
}
define internal void @wake(ptr %word) #0 {
  %r = call i32 @__ulock_wake(i32 257, ptr %word, i64 0)
  ret void
}
""",
    "win32": """
declare i32 @WaitOnAddress(ptr, ptr, i64, i32)
declare void @WakeByAddressAll(ptr)
define internal void @sleep(ptr %word, i32 %old) #0 {
  %place = alloca i32
  store i32 %old, ptr %place
  %r = call i32 @WaitOnAddress(ptr %word, ptr %place, i64 4, i32 -1)
  ret void
}
define internal void @wake(ptr %word) #0 {
  call void @WakeByAddressAll(ptr %word)
  ret void
}
""",
}
_NAP = """
declare i32 @usleep(i32)
define internal void @sleep(ptr %word, i32 %old) #0 {
  %r = call i32 @usleep(i32 200)
  ret void
}
define internal void @wake(ptr %word) #0 {
  ret void
}
"""
_FUTEX = {"x86_64": 202, "aarch64": 98}

_TEXT = """
; fills the places of a table that change from call to call
define void @bind(ptr %table, ptr %pairs, i64 %n, ptr %dynamic) #0 {
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %end
body:
  %pair = shl i64 %i, 1
  %pp = getelementptr i64, ptr %pairs, i64 %pair
  %place = load i64, ptr %pp
  %pq = getelementptr i64, ptr %pp, i64 1
  %which = load i64, ptr %pq
  %source = getelementptr ptr, ptr %dynamic, i64 %which
  %address = load ptr, ptr %source
  %target = getelementptr ptr, ptr %table, i64 %place
  store ptr %address, ptr %target
  %next = add i64 %i, 1
  br label %test
end:
  ret void
}

; waits a moment: how long `n` of these take is measured when the pool is made
define void @pause(i64 %n) #0 {
entry:
  br label %test
test:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %end
body:
  {pause}
  %next = add i64 %i, 1
  br label %test
end:
  ret void
}

; takes chunks of the job there is until none is left; gives how many were taken
define internal i64 @take(ptr %pool, i64 %thread) #0 {
entry:
  %ticket.at = getelementptr i64, ptr %pool, i64 {TICKET}
  %job = getelementptr i64, ptr %pool, i64 {JOB}
  %table.at = getelementptr i64, ptr %job, i64 1
  %units.at = getelementptr i64, ptr %job, i64 2
  %chunk.at = getelementptr i64, ptr %job, i64 3
  %chunks.at = getelementptr i64, ptr %job, i64 4
  %scratch.at = getelementptr i64, ptr %job, i64 5
  %stride.at = getelementptr i64, ptr %job, i64 6
  %threads.at = getelementptr i64, ptr %job, i64 7
  %large.at = getelementptr i64, ptr %job, i64 8
  %small.at = getelementptr i64, ptr %job, i64 9
  br label %look
look:
  %taken = phi i64 [ 0, %entry ], [ %taken, %retry ], [ %after, %work ]
  %ticket = load atomic i64, ptr %ticket.at acquire, align 8
  %left = and i64 %ticket, 4294967295
  %any = icmp ne i64 %left, 0
  br i1 %any, label %read, label %end
read:
  ; what is read here belongs to the job of the ticket, if that is still there when the chunk is taken
  %code = load atomic ptr, ptr %job monotonic, align 8
  %table = load atomic ptr, ptr %table.at monotonic, align 8
  %units = load atomic i64, ptr %units.at monotonic, align 8
  %chunk = load atomic i64, ptr %chunk.at monotonic, align 8
  %chunks = load atomic i64, ptr %chunks.at monotonic, align 8
  %large = load atomic i64, ptr %large.at monotonic, align 8
  %small = load atomic i64, ptr %small.at monotonic, align 8
  %base = load atomic ptr, ptr %scratch.at monotonic, align 8
  %stride = load atomic i64, ptr %stride.at monotonic, align 8
  %threads = load atomic i64, ptr %threads.at monotonic, align 8
  %mine = icmp slt i64 %thread, %threads
  br i1 %mine, label %claim, label %end
claim:
  %fewer = sub i64 %ticket, 1
  %pair = cmpxchg ptr %ticket.at, i64 %ticket, i64 %fewer acq_rel acquire
  %got = extractvalue { i64, i1 } %pair, 1
  br i1 %got, label %work, label %retry
retry:
  br label %look
work:
  %number = sub i64 %chunks, %left
  %is.large = icmp slt i64 %number, %large
  %whole = call i64 @llvm.smin.i64(i64 %number, i64 %large)
  %rest = sub i64 %number, %whole
  %low.large = mul i64 %whole, %chunk
  %low.small = mul i64 %rest, %small
  %low = add i64 %low.large, %low.small
  %size = select i1 %is.large, i64 %chunk, i64 %small
  %up = add i64 %low, %size
  %high = call i64 @llvm.smin.i64(i64 %up, i64 %units)
  %shift = mul i64 %stride, %thread
  %scratch = getelementptr i8, ptr %base, i64 %shift
  call void %code(ptr %table, ptr %scratch, i64 %low, i64 %high)
  %after = add i64 %taken, 1
  br label %look
end:
  ret i64 %taken
}

; how threads share out a step, whose units are written already: as many large chunks as keep them busy for most of the time,
; multiples of `together`, then small ones for the end
define void @divide(ptr %step, i64 %grain, i64 %together, i64 %threads) #0 {
entry:
  %units.at = getelementptr i64, ptr %step, i64 2
  %units = load i64, ptr %units.at
  %up = add i64 %units, %grain
  %more = sub i64 %up, 1
  %grains = udiv i64 %more, %grain
  %shares = mul i64 %threads, {CHUNKS}
  %finer = shl i64 %shares, 2
  %few = udiv i64 %grains, %shares
  %fewer = udiv i64 %grains, %finer
  %some = call i64 @llvm.smax.i64(i64 %few, i64 1)
  %least = call i64 @llvm.smax.i64(i64 %fewer, i64 1)
  %small = mul i64 %grain, %least
  %least.large = mul i64 %grain, %some
  %beyond = add i64 %least.large, %together
  %beyond.less = sub i64 %beyond, 1
  %groups = udiv i64 %beyond.less, %together
  %large = mul i64 %groups, %together
  %all = udiv i64 %units, %large
  %before.end = sub i64 %all, %threads
  %n.large = call i64 @llvm.smax.i64(i64 %before.end, i64 0)
  %done = mul i64 %n.large, %large
  %rest = sub i64 %units, %done
  %rest.up = add i64 %rest, %small
  %rest.more = sub i64 %rest.up, 1
  %n.small = udiv i64 %rest.more, %small
  %together.chunks = add i64 %n.large, %n.small
  %one = icmp eq i64 %threads, 1
  %chunks = select i1 %one, i64 1, i64 %together.chunks
  %to3 = getelementptr i64, ptr %step, i64 3
  store i64 %large, ptr %to3
  %to4 = getelementptr i64, ptr %step, i64 {CHUNKS_WORD}
  store i64 %chunks, ptr %to4
  %to5 = getelementptr i64, ptr %step, i64 5
  store i64 %n.large, ptr %to5
  %to6 = getelementptr i64, ptr %step, i64 6
  store i64 %small, ptr %to6
  ret void
}

; adds to what is done of a job, and wakes the thread that waits for its end
define internal void @finish(ptr %pool, i64 %taken) #0 {
entry:
  %done.at = getelementptr i64, ptr %pool, i64 {DONE}
  %narrow = trunc i64 %taken to i32
  %before = atomicrmw sub ptr %done.at, i32 %narrow seq_cst
  %last = icmp eq i32 %before, %narrow
  br i1 %last, label %look, label %end
look:
  %waiting.at = getelementptr i64, ptr %pool, i64 {WAITING}
  %waiting = load atomic i32, ptr %waiting.at seq_cst, align 4
  %asleep = icmp ne i32 %waiting, 0
  br i1 %asleep, label %rouse, label %end
rouse:
  call void @wake(ptr %done.at)
  br label %end
end:
  ret void
}

; one step, by all threads that have time; `stride` bytes of scratch lie between that of one and that of the next
define void @share(ptr %pool, ptr %step, i64 %chunks, i64 %threads, ptr %scratch, i64 %stride) #0 {
entry:
  %ticket.at = getelementptr i64, ptr %pool, i64 {TICKET}
  %done.at = getelementptr i64, ptr %pool, i64 {DONE}
  %job = getelementptr i64, ptr %pool, i64 {JOB}
  %asleep.at = getelementptr i64, ptr %pool, i64 {ASLEEP}
  %wake.at = getelementptr i64, ptr %pool, i64 {WAKE}
  %waiting.at = getelementptr i64, ptr %pool, i64 {WAITING}
  %spins.at = getelementptr i64, ptr %pool, i64 {SPINS}
  {copies}
  %scratch.to = getelementptr i64, ptr %job, i64 5
  store atomic ptr %scratch, ptr %scratch.to monotonic, align 8
  %stride.to = getelementptr i64, ptr %job, i64 6
  store atomic i64 %stride, ptr %stride.to monotonic, align 8
  %threads.to = getelementptr i64, ptr %job, i64 7
  store atomic i64 %threads, ptr %threads.to monotonic, align 8
  %narrow = trunc i64 %chunks to i32
  store atomic i32 %narrow, ptr %done.at seq_cst, align 4
  %old = load atomic i64, ptr %ticket.at monotonic, align 8
  %number = lshr i64 %old, 32
  %next = add i64 %number, 1
  %high = shl i64 %next, 32
  %ticket = or i64 %high, %chunks
  store atomic i64 %ticket, ptr %ticket.at seq_cst, align 8
  %sleepers = load atomic i32, ptr %asleep.at seq_cst, align 4
  %some = icmp ne i32 %sleepers, 0
  br i1 %some, label %rouse, label %begin
rouse:
  store atomic i32 0, ptr %asleep.at seq_cst, align 4
  %w = atomicrmw add ptr %wake.at, i32 1 seq_cst
  call void @wake(ptr %wake.at)
  br label %begin
begin:
  %taken = call i64 @take(ptr %pool, i64 0)
  %some.taken = icmp ne i64 %taken, 0
  br i1 %some.taken, label %tell, label %wait
tell:
  call void @finish(ptr %pool, i64 %taken)
  br label %wait
wait:
  %most = load i64, ptr %spins.at
  br label %spin
spin:
  %i = phi i64 [ 0, %wait ], [ %i.next, %pausing ]
  %left = load atomic i32, ptr %done.at acquire, align 4
  %ready = icmp eq i32 %left, 0
  br i1 %ready, label %end, label %longer
longer:
  %patient = icmp slt i64 %i, %most
  br i1 %patient, label %pausing, label %rest
pausing:
  {pause}
  %i.next = add i64 %i, 1
  br label %spin
rest:
  ; a core without work is what lets the system run a worker that it has put off
  store atomic i32 1, ptr %waiting.at seq_cst, align 4
  %still = load atomic i32, ptr %done.at seq_cst, align 4
  %over = icmp eq i32 %still, 0
  br i1 %over, label %up, label %down
down:
  call void @sleep(ptr %done.at, i32 %still)
  br label %up
up:
  store atomic i32 0, ptr %waiting.at seq_cst, align 4
  %now = load atomic i32, ptr %done.at seq_cst, align 4
  %all = icmp eq i32 %now, 0
  br i1 %all, label %end, label %rest
end:
  ret void
}

; steps `first` up to `last` of a program on so many threads: by itself and, if nobody else uses them, those of the pool
define internal void @go(ptr %pool, ptr %program, i64 %first, i64 %last, i64 %threads) #0 {
entry:
  %steps = load ptr, ptr %program
  %scratch.at = getelementptr i64, ptr %program, i64 {SCRATCH}
  %scratch = load ptr, ptr %scratch.at
  %stride.at = getelementptr i64, ptr %program, i64 {STRIDE}
  %stride = load i64, ptr %stride.at
  %many = icmp sgt i64 %threads, 1
  br i1 %many, label %ask, label %start
ask:
  %busy.at = getelementptr i64, ptr %pool, i64 {BUSY}
  %pair = cmpxchg ptr %busy.at, i64 0, i64 1 acq_rel acquire
  %free = extractvalue { i64, i1 } %pair, 1
  br label %start
start:
  %shared = phi i1 [ false, %entry ], [ %free, %ask ]
  ; what kernels are told that share out kernels of their own
  %used = select i1 %shared, ptr %pool, ptr null
  %used.at = getelementptr i64, ptr %program, i64 {POOL_USED}
  store ptr %used, ptr %used.at
  %threads.at = getelementptr i64, ptr %program, i64 {THREADS_USED}
  store i64 %threads, ptr %threads.at
  %before = getelementptr i8, ptr %scratch, i64 -8
  store ptr %program, ptr %before
  br label %test
test:
  %i = phi i64 [ %first, %start ], [ %next, %done ]
  %more = icmp slt i64 %i, %last
  br i1 %more, label %body, label %end
body:
  %at = mul i64 %i, {STEP_WORDS}
  %step = getelementptr i64, ptr %steps, i64 %at
  %pt = getelementptr i64, ptr %step, i64 1
  %pn = getelementptr i64, ptr %step, i64 2
  %pc = getelementptr i64, ptr %step, i64 4
  %chunks = load i64, ptr %pc
  %parts = icmp sgt i64 %chunks, 1
  %both = and i1 %parts, %shared
  br i1 %both, label %together, label %alone
alone:
  %code = load ptr, ptr %step
  %table = load ptr, ptr %pt
  %units = load i64, ptr %pn
  call void %code(ptr %table, ptr %scratch, i64 0, i64 %units)
  br label %done
together:
  call void @share(ptr %pool, ptr %step, i64 %chunks, i64 %threads, ptr %scratch, i64 %stride)
  br label %done
done:
  %next = add i64 %i, 1
  br label %test
end:
  br i1 %shared, label %leave, label %out
leave:
  %free.at = getelementptr i64, ptr %pool, i64 {BUSY}
  store atomic i64 0, ptr %free.at release, align 8
  br label %out
out:
  ret void
}

; the same on as many threads as pay: beside other busy processes one may be quicker, so that now and then a whole run is
; done the other way, after one to wake the threads, and the clock decides
define void @run(ptr %pool, ptr %program, i64 %first, i64 %last) #0 {
entry:
  %threads.at = getelementptr i64, ptr %program, i64 {THREADS}
  %threads = load i64, ptr %threads.at
  %whole.at = getelementptr i64, ptr %program, i64 {WHOLE}
  %whole = load i64, ptr %whole.at
  %n = sub i64 %last, %first
  %all = icmp eq i64 %n, %whole
  %many = icmp sgt i64 %threads, 1
  %both = and i1 %all, %many
  br i1 %both, label %choose, label %plain
plain:
  call void @go(ptr %pool, ptr %program, i64 %first, i64 %last, i64 %threads)
  ret void
choose:
  %turn.at = getelementptr i64, ptr %program, i64 {TURN}
  %turn = load i64, ptr %turn.at
  %after = add i64 %turn, 1
  store i64 %after, ptr %turn.at
  %phase = and i64 %turn, {MASK}
  %late = icmp ugt i64 %turn, {MASK}
  %first.two = icmp ult i64 %phase, 2
  %due = and i1 %late, %first.two
  %pair = and i64 %turn, -2
  %bits = call i64 @llvm.ctpop.i64(i64 %pair)
  %double = icmp eq i64 %bits, 1
  %begun = icmp uge i64 %pair, {EARLY}
  %young = xor i1 %late, true
  %doubles = and i1 %double, %begun
  %early = and i1 %young, %doubles
  %other = or i1 %due, %early
  %alone.at = getelementptr i64, ptr %program, i64 {ALONE}
  %alone = load i64, ptr %alone.at
  %prefers = icmp ne i64 %alone, 0
  %one = xor i1 %prefers, %other
  %used = select i1 %one, i64 1, i64 %threads
  %begin = call i64 @{counter}()
  call void @go(ptr %pool, ptr %program, i64 %first, i64 %last, i64 %used)
  %end = call i64 @{counter}()
  %odd = trunc i64 %turn to i1
  %second = and i1 %other, %odd
  %begins = icmp eq i64 %phase, 0
  %even = xor i1 %odd, true
  %wakes = and i1 %other, %even
  %waking = or i1 %begins, %wakes
  br i1 %waking, label %out, label %note
note:
  %took = sub i64 %end, %begin
  %place = select i1 %one, i64 {TIME_ONE}, i64 {TIME_MANY}
  %time.at = getelementptr i64, ptr %program, i64 %place
  %old = load i64, ptr %time.at
  %new = icmp eq i64 %old, 0
  %off = sub i64 %took, %old
  %part = ashr i64 %off, 2
  %mixed = add i64 %old, %part
  %time = select i1 %new, i64 %took, i64 %mixed
  store i64 %time, ptr %time.at
  br i1 %second, label %decide, label %out
decide:
  %one.at = getelementptr i64, ptr %program, i64 {TIME_ONE}
  %many.at = getelementptr i64, ptr %program, i64 {TIME_MANY}
  %time.one = load i64, ptr %one.at
  %time.many = load i64, ptr %many.at
  %quicker = icmp slt i64 %time.one, %time.many
  %word = zext i1 %quicker to i64
  store i64 %word, ptr %alone.at
  br label %out
out:
  ret void
}
declare i64 @{counter}()
declare i64 @llvm.ctpop.i64(i64)

; the life of a worker
define void @work(ptr %pool, i64 %thread) #0 {
entry:
  %ticket.at = getelementptr i64, ptr %pool, i64 {TICKET}
  %asleep.at = getelementptr i64, ptr %pool, i64 {ASLEEP}
  %wake.at = getelementptr i64, ptr %pool, i64 {WAKE}
  %spins.at = getelementptr i64, ptr %pool, i64 {SPINS}
  br label %fresh
fresh:
  %most = load i64, ptr %spins.at
  br label %look
look:
  %i = phi i64 [ 0, %fresh ], [ %i.next, %pausing ]
  %ticket = load atomic i64, ptr %ticket.at acquire, align 8
  %left = and i64 %ticket, 4294967295
  %any = icmp ne i64 %left, 0
  br i1 %any, label %try, label %none
try:
  %taken = call i64 @take(ptr %pool, i64 %thread)
  %some = icmp ne i64 %taken, 0
  br i1 %some, label %tell, label %none
tell:
  call void @finish(ptr %pool, i64 %taken)
  br label %fresh
none:
  %patient = icmp slt i64 %i, %most
  br i1 %patient, label %pausing, label %tired
pausing:
  {pause}
  %i.next = add i64 %i, 1
  br label %look
tired:
  %word = load atomic i32, ptr %wake.at seq_cst, align 4
  store atomic i32 1, ptr %asleep.at seq_cst, align 4
  %again = load atomic i64, ptr %ticket.at seq_cst, align 8
  %changed = icmp ne i64 %again, %ticket
  br i1 %changed, label %fresh, label %down
down:
  call void @sleep(ptr %wake.at, i32 %word)
  br label %fresh
}
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
"""


def runtime(triple: str) -> str:
    """The IR of `bind`, `pause`, `run`, `share`, `divide` and `work` for a machine.

    `run(pool, program, first, last)` does steps of a program: words that hold the address of the steps, that of the scratch
    of all threads, the bytes of one thread's, how many threads and how many steps there are. Four are the runtime's own:
    runs so far, whether one thread is quicker, and the clock's ticks of a run on one thread and on all. The last four are
    for kernels that share out kernels of their own: the pool while this program has it, else null; how many threads it
    uses now; and the addresses of `share` and `divide`.
    """
    machine = triple.split("-")[0].replace("arm64", "aarch64")
    declared, pause = _PAUSE.get(machine, ("", ""))
    sleep = _SLEEP.get(sys.platform, _NAP) if sys.platform != "linux" or machine in _FUTEX else _NAP
    copies = "\n  ".join(
        f"%from{k} = getelementptr i64, ptr %step, i64 {k}\n  %word{k} = load i64, ptr %from{k}\n"
        f"  %to{k} = getelementptr i64, ptr %job, i64 {k if k < 5 else k + 3}\n"
        f"  store atomic i64 %word{k}, ptr %to{k} monotonic, align 8"
        for k in range(STEP_WORDS)
    )
    places = {
        "TICKET": TICKET, "DONE": DONE, "JOB": JOB, "ASLEEP": ASLEEP, "WAKE": WAKE, "BUSY": BUSY, "WAITING": WAITING,
        "SPINS": SPINS, "STEP_WORDS": STEP_WORDS, "CHUNKS": CHUNKS, "CHUNKS_WORD": CHUNKS_WORD, "SCRATCH": SCRATCH, "STRIDE": STRIDE, "THREADS": THREADS, "WHOLE": WHOLE, "TURN": TURN, "ALONE": ALONE,
        "TIME_ONE": TIME_ONE, "TIME_MANY": TIME_MANY, "POOL_USED": POOL_USED, "THREADS_USED": THREADS_USED, "pause": pause, "copies": copies, "MASK": PERIOD - 1, "EARLY": EARLY, "counter": COUNTER.get(machine, "llvm.readcyclecounter"), "futex": _FUTEX.get(machine),
    }  # fmt: skip
    text = f"{declared}\n{sleep}\n{_TEXT}"
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text
