"""Machine code on disk: what is loaded is what was stored, whatever happens to the folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import backlit as bl
from backlit.compiler import cache
from backlit.compiler.llvm.target import Code, features

CONTENT = bytes(range(60))
TEXT = "define void @f(ptr %p, i64 %n) {\n  store i64 %n, ptr %p\n  ret void\n}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of its own."""
    where = tmp_path / "made" / "backlit"
    monkeypatch.setenv("BACKLIT_CACHE_DIR", str(where))
    monkeypatch.setattr(cache, "_warned", set())
    return where


def entries(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def in_process(code, folder, **environment):
    """A Python process that runs `code` with that cache."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "BACKLIT_CACHE_DIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process):
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out


def test_what_was_stored_is_loaded_and_is_the_users_alone(folder):
    assert cache.load("a") is None
    assert cache.store("a", CONTENT) and cache.load("a") == CONTENT
    assert cache.load("b") is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "a.o").stat().st_mode & 0o777 == 0o600
    assert entries(folder) == ["a.o"]


def test_no_two_lists_of_parts_have_one_key():
    names = {cache.key(*parts) for parts in [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""), ("", "ab", "c")]}
    assert len(names) == 5


@pytest.mark.parametrize("position", range(len(cache.MAGIC) + 32 + len(CONTENT)))
def test_an_entry_with_one_wrong_bit_counts_as_absent(folder, position):
    cache.store("a", CONTENT)
    whole = bytearray((folder / "a.o").read_bytes())
    assert len(whole) == len(cache.MAGIC) + 32 + len(CONTENT)
    whole[position] ^= 1 << position % 8
    (folder / "a.o").write_bytes(whole)
    assert cache.load("a") is None
    assert cache.store("a", CONTENT) and cache.load("a") == CONTENT


@pytest.mark.parametrize("length", [0, 1, len(cache.MAGIC), len(cache.MAGIC) + 31, len(cache.MAGIC) + 32, -1])
def test_an_entry_that_ends_too_early_or_goes_on_counts_as_absent(folder, length):
    cache.store("a", CONTENT)
    whole = (folder / "a.o").read_bytes()
    (folder / "a.o").write_bytes(whole[:length])
    assert cache.load("a") is None
    (folder / "a.o").write_bytes(whole + b"x")
    assert cache.load("a") is None


def test_an_entry_under_another_name_is_not_taken(folder):
    cache.store("a", CONTENT)
    (folder / "a.o").rename(folder / "b.o")
    assert cache.load("b") is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_can_write_is_refused_once_in_words(folder, mode):
    cache.store("a", CONTENT)
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match="can be written by others"):
        assert cache.load("a") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.load("a") is None and not cache.store("b", CONTENT)
    assert entries(folder) == ["a.o"]


def test_a_folder_that_others_can_read_is_taken(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    assert cache.store("a", CONTENT) and cache.load("a") == CONTENT


def test_a_folder_of_another_user_is_refused(folder, monkeypatch):
    cache.store("a", CONTENT)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert not cache.store("b", CONTENT)
    assert cache.load("a") is None


def test_an_entry_that_others_can_write_is_refused(folder):
    cache.store("a", CONTENT)
    (folder / "a.o").chmod(0o666)
    with pytest.warns(RuntimeWarning, match=r"a\.o belongs to another user or can be written"):
        assert cache.load("a") is None


@pytest.mark.parametrize("setting", ["0", "off", "False"])
def test_the_cache_can_be_turned_off(folder, monkeypatch, setting):
    monkeypatch.setenv("BACKLIT_CACHE", setting)
    assert not cache.store("a", CONTENT) and cache.load("a") is None
    assert not folder.exists()


def test_folders_by_convention_and_none_without_a_home(monkeypatch):
    monkeypatch.delenv("BACKLIT_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.folder() == os.path.join("/somewhere", "backlit")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the convention says to pass over
    monkeypatch.setenv("HOME", "/home/me")
    assert cache.folder() == "/home/me/.cache/backlit"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.folder() == "/home/me/Library/Caches/backlit"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache.folder() is None
    assert not cache.store("a", CONTENT) and cache.load("a") is None


def test_a_folder_that_cannot_be_made_is_no_error(folder):
    folder.parent.write_text("a file where a folder should be")
    assert not cache.store("a", CONTENT) and cache.load("a") is None
    folder.parent.unlink()
    folder.parent.mkdir()
    folder.write_text("here as well")
    assert not cache.store("a", CONTENT) and cache.load("a") is None


def test_a_full_disk_is_no_error_and_leaves_nothing(folder, monkeypatch):
    cache.store("a", CONTENT)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not cache.store("b", CONTENT)
    assert entries(folder) == ["a.o"]


def test_what_was_used_least_recently_goes_first(folder, monkeypatch):
    content = bytes(2**17)
    monkeypatch.setenv("BACKLIT_CACHE_MIB", "0.9")  # of which 7 entries take nearly all
    for k in range(7):
        cache.store(f"e{k}", content)
        os.utime(folder / f"e{k}.o", (1000 + k, 1000 + k))
    assert cache.load("e0") == content
    cache.store("new", content)
    assert entries(folder) == ["e0.o", "e4.o", "e5.o", "e6.o", "new.o"]
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 0.75 * 0.9 * 2**20


def test_what_is_larger_than_the_cache_is_not_stored(folder, monkeypatch):
    monkeypatch.setenv("BACKLIT_CACHE_MIB", "0.0001")
    assert not cache.store("a", bytes(200))
    monkeypatch.setenv("BACKLIT_CACHE_MIB", "no number")
    assert cache.store("a", bytes(200))


def test_files_of_processes_that_died_are_removed(folder):
    cache.store("a", CONTENT)
    for name, age_s in (("old.tmp", 2 * cache.STALE_S), ("young.tmp", 0)):
        (folder / name).write_bytes(b"half")
        moment = (folder / name).stat().st_mtime - age_s
        os.utime(folder / name, (moment, moment))
    cache.store("b", CONTENT)
    assert entries(folder) == ["a.o", "b.o", "young.tmp"]


def test_processes_that_store_load_and_evict_at_once_see_whole_entries_only(folder):
    code = """
        import random, sys
        from backlit.compiler import cache
        draw, found = random.Random(sys.argv[1] if len(sys.argv) > 1 else None), 0
        for _ in range(300):
            k = draw.randrange(12)
            if draw.random() < 0.4:
                cache.store(f"e{k}", bytes([k]) * 10000)
            else:
                content = cache.load(f"e{k}")
                assert content in (None, bytes([k]) * 10000)
                found += content is not None
        print(found)
    """
    running = [in_process(code, folder, BACKLIT_CACHE_MIB="0.07") for _ in range(4)]
    assert sum(int(said(process)) for process in running) > 0
    assert all(name.endswith(".o") for name in entries(folder))


def code_of(text=TEXT, allowed=None):
    code = Code(text, allowed)
    place = np.zeros(1, np.int64)
    code.function("f")(place.ctypes.data, 7)
    assert place[0] == 7
    return code


def test_code_is_compiled_once_and_then_loaded(folder):
    assert code_of().origin == "compiled and stored"
    again = code_of()
    assert again.origin == "loaded"
    assert "ret" in again.asm()
    other = code_of(TEXT.replace("@f", "@g").replace("@g(", "@f("))
    assert other.origin == "loaded"  # the same text
    assert code_of(TEXT + "\n; another text").origin == "compiled and stored"
    assert len(entries(folder)) == 2


def test_code_for_other_features_is_another_entry(folder):
    code_of()
    assert code_of(allowed=features("sse4.2")).origin == "compiled and stored"
    assert len(entries(folder)) == 2


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "none of ours"])
def test_damaged_code_is_compiled_again(folder, how):
    code_of()
    (name,) = entries(folder)
    path = folder / name
    whole = bytearray(path.read_bytes())
    if how == "flip":
        whole[len(whole) // 2] ^= 255
    path.write_bytes({"flip": whole, "cut": whole[:-100], "empty": b""}.get(how, b"\x7fELF" + bytes(500)))
    assert code_of().origin == "compiled and stored"
    assert code_of().origin == "loaded"


def test_code_without_a_cache(folder, monkeypatch):
    monkeypatch.setenv("BACKLIT_CACHE", "0")
    assert code_of().origin == "compiled"
    assert code_of().origin == "compiled"


STEP = """
    import hashlib
    import numpy as np
    import backlit as bl
    from backlit import nn, optim

    model = nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 9), nn.GELU(), nn.Linear(9, 5))
    opt = optim.Adam(model.parameters())
    table = bl.tensor(np.arange(40.0).reshape(8, 5))

    @bl.compile
    def step(x, y):
        opt.zero_grad()
        out = model(x)
        loss = nn.functional.cross_entropy(out, y) + bl.sum(bl.max(out * out + out, axis=1)) + bl.mean(out @ model[4].weight)
        loss.backward()
        opt.step()
        return loss

    rng = np.random.default_rng(0)
    x, y = bl.tensor(rng.standard_normal((8, 12)).astype(np.float32)), bl.tensor(rng.integers(0, 5, 8))
    losses = [step(x, y).item() for _ in range(3)]
    origin = step.report().code
    print(hashlib.sha256(step.llvm().encode()).hexdigest(), losses, origin, sep=";")
"""


def test_the_same_program_is_the_same_text_in_every_process(folder):
    found = [said(in_process(STEP, folder, PYTHONHASHSEED=str(seed))).split(";") for seed in range(3)]
    assert len({(text, losses) for text, losses, _ in found}) == 1
    assert [origin.strip() for _, _, origin in found] == ["compiled and stored", "loaded", "loaded"]


def test_processes_that_compile_the_same_program_at_once(folder):
    running = [in_process(STEP, folder, PYTHONHASHSEED=str(seed)) for seed in range(3)]
    found = [said(process).split(";") for process in running]
    assert len({(text, losses) for text, losses, _ in found}) == 1
    assert len(entries(folder)) == 3  # the step, what runs programs, and the way in


def test_a_compiled_function_works_with_a_refused_folder(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    x = bl.tensor(np.arange(5.0))
    with pytest.warns(RuntimeWarning, match="can be written by others"):
        out = bl.compile(lambda x: x * 2.0 + 1.0)(x)
    assert out.tolist() == [1.0, 3.0, 5.0, 7.0, 9.0]
    assert entries(folder) == []
