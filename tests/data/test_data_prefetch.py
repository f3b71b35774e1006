"""Threads that prefetch: errors reach the loop, and nothing keeps running."""

import gc
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import numpy as np
import pytest

import backlit as bl
from backlit import data
from backlit.core import record


def backlit_threads():
    return [t for t in threading.enumerate() if t.name == "backlit-data"]


def all_threads_end():
    for _ in range(500):
        if not backlit_threads():
            return True
        time.sleep(0.01)
    return False


class Faulty(data.Dataset):
    def __init__(self, at, error):
        self.at, self.error = at, error

    def __len__(self):
        return 20

    def __getitem__(self, i):
        if i == self.at:
            raise self.error
        return i


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_an_error_reaches_the_loop_after_the_batches_before_it(threads):
    got = []
    with pytest.raises(KeyError, match="the eleventh") as caught:
        for batch in data.DataLoader(Faulty(11, KeyError("the eleventh")), 2, num_workers=threads):
            got.append(batch.tolist())
    assert got == [[2 * i, 2 * i + 1] for i in range(5)]
    assert "raise self.error" in "".join(traceback.format_exception(caught.value))
    assert all_threads_end()


@pytest.mark.parametrize("threads", [0, 2])
def test_an_item_that_raises_stop_iteration_does_not_end_the_epoch(threads):
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(data.DataLoader(Faulty(3, StopIteration()), 1, num_workers=threads))


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_stream_or_a_sampler(threads):
    class Broken(data.IterableDataset):
        def __iter__(self):
            yield 1
            raise OSError("the disk is gone")

    got = []
    with pytest.raises(OSError, match="the disk is gone"):
        for batch in data.DataLoader(Broken(), 1, num_workers=threads):
            got.append(batch.item())
    assert got == [1]
    with pytest.raises(ZeroDivisionError):
        list(data.DataLoader(np.ones(3), 1, sampler=(1 // (1 - i) for i in range(3)), num_workers=threads))
    assert all_threads_end()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_pass_that_is_left_leaves_no_thread(threads):
    loader = data.DataLoader(np.arange(100), 1, num_workers=threads)
    for batch in loader:
        if batch.item() == 3:
            break
    del batch
    gc.collect()
    assert all_threads_end()
    passing = iter(loader)
    next(passing)
    passing.close()
    with pytest.raises(StopIteration):
        next(passing)
    assert all_threads_end()


def test_a_pass_that_ends_leaves_no_thread():
    passing = iter(data.DataLoader(np.arange(5), 2, num_workers=2))
    assert len(list(passing)) == 3
    assert list(passing) == []
    assert all_threads_end()


def run(program, **options):
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


ABANDONED = """
    import numpy as np
    from backlit import data
    passing = iter(data.DataLoader(np.arange(1000), 1, num_workers=3, prefetch_factor=4))
    print(next(passing).item())
"""


def test_an_interpreter_ends_with_a_pass_open():
    done = run(ABANDONED)
    out, err = done.communicate(timeout=100)
    assert (done.returncode, out.strip(), err) == (0, "0", "")


WAITING = """
    import time
    import numpy as np
    from backlit import data

    class Slow(data.Dataset):
        def __len__(self):
            return 1000
        def __getitem__(self, i):
            print(i, flush=True)
            time.sleep(0 if i == 0 else {seconds})
            return i

    try:
        for batch in data.DataLoader(Slow(), 1, num_workers=1):
            pass
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to processes otherwise there")
@pytest.mark.parametrize("seconds", [0.01, 60])  # 60: a fetch that nobody waits for any more
def test_ctrl_c_ends_a_loop_and_the_program(seconds):
    process = run(WAITING.format(seconds=seconds))
    try:
        assert process.stdout.readline().strip() == "0"
        assert process.stdout.readline().strip() == "1"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
        assert out.strip().endswith("interrupted") and process.returncode == 0, err
        assert not err
    finally:
        process.kill()
        process.wait()


def test_threads_work_in_the_context_of_the_loop():
    import contextvars

    setting = contextvars.ContextVar("setting", default="none")

    class Asked(data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, i):
            return setting.get()

    setting.set("mine")
    assert next(iter(data.DataLoader(Asked(), 1, num_workers=1))) == ["mine"]


@pytest.mark.parametrize("threads", [0, 2])
def test_a_recording_hears_nothing_of_how_a_batch_is_made(threads):
    class Heard(record.Listener):
        def __init__(self):
            self.ops = []

        def unrecorded(self, op, out, args, params):
            self.ops.append((op.name, threading.current_thread().name))

    heard = Heard()
    crop = data.transforms.RandomCrop(4, padding=1)
    loader = data.DataLoader(np.ones((8, 1, 4, 4)), 2, transform=crop, num_workers=threads)
    with record.listening(heard):
        drawn = [bl.sin(bl.sum(batch)).item() for batch in loader]
    assert len(drawn) == 4 and {name for name, _ in heard.ops} <= {"sum", "sin"}
    assert {thread for _, thread in heard.ops} == {"MainThread"}
