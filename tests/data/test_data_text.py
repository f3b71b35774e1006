import gzip
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backlit as bl
from backlit import data
from backlit.core.errors import ArgumentError, DataError, FileFormatError

TEXT = "To be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n" * 20


@given(st.text())
def test_bytes_come_back(text):
    tokenizer = data.ByteTokenizer()
    tokens = tokenizer.encode(text.encode(errors="replace").decode())
    assert tokens.dtype == np.int64 and tokenizer.vocab_size == 256
    assert tokenizer.decode(tokens) == text.encode(errors="replace").decode()
    assert tokenizer.decode([255]) == "\ufffd"


@given(st.text(min_size=1))
def test_characters_come_back(text):
    tokenizer = data.CharTokenizer.train(text)
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int64 and tokens.shape == (len(text),)
    assert tokenizer.vocab_size == len(set(text)) and sorted(set(tokens)) == list(range(tokenizer.vocab_size))
    assert tokenizer.decode(tokens) == text == tokenizer.decode(bl.tensor(tokens))


def test_characters_that_were_not_learned():
    tokenizer = data.CharTokenizer("abc\U0001f600")
    assert tokenizer.encode("cab\U0001f600").tolist() == [2, 0, 1, 3]
    assert tokenizer.encode("").tolist() == [] and tokenizer.decode([]) == ""
    for text, at in (("abz", 2), ("\U0001f601", 0), ("A", 0)):
        with pytest.raises(DataError, match=f"{text[at]!r} at position {at} was not"):
            tokenizer.encode(text)
    with pytest.raises(DataError, match="no characters to learn from"):
        data.CharTokenizer("")
    for tokens, told in (
        ([4], "tokens from 4 to 4"),
        ([-1, 2], "from -1 to 2"),
        ([0.5], "float32"),
        ([[1]], r"int64\[1, 1\]"),
    ):
        with pytest.raises(DataError, match=f"integers from 0 to 3, got .*{told}"):
            tokenizer.decode(tokens)


def test_characters_are_saved(tmp_path):
    path = tmp_path / "characters.json"
    data.CharTokenizer("läß\ud800").save(path)
    assert data.CharTokenizer.load(path).characters == "lßä\ud800"
    for bad in (
        "",
        "{}",
        "[]",
        '{"format": "x"}',
        '{"format": "backlit characters 1", "characters": 3}',
        "[" * 100_000,
    ):
        path.write_text(bad)
        with pytest.raises(FileFormatError, match="holds no characters"):
            data.CharTokenizer.load(path)
    with pytest.raises(FileFormatError, match="cannot read .*: No such file"):
        data.CharTokenizer.load(tmp_path / "none")


def test_byte_pairs(tmp_path):
    pytest.importorskip("tokenizers", reason="the extra text is not installed")
    tokenizer = data.BPETokenizer.train(TEXT, 300)
    assert tokenizer.vocab_size == 300
    for text in (TEXT, "", " never  seen: \u00e4\U0001f600\n\n\t", "\0"):
        tokens = tokenizer.encode(text)
        assert tokens.dtype == np.int64 and tokenizer.decode(tokens) == text
    assert len(tokenizer.encode(TEXT)) < len(TEXT) / 2
    assert data.BPETokenizer.train(iter([TEXT]), 300).encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    path = tmp_path / "pairs.json"
    tokenizer.save(path)
    assert data.BPETokenizer.load(path).encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    with pytest.raises(ArgumentError, match="at least 256"):
        data.BPETokenizer.train(TEXT, 100)
    with pytest.raises(DataError, match="from 0 to 299, got tokens from 300"):
        tokenizer.decode([300])
    for bad in ("", "{}", path.read_text()[:-20]):
        path.write_text(bad)
        with pytest.raises(FileFormatError, match="is no tokeniser"):
            data.BPETokenizer.load(path)


def test_without_the_library_of_byte_pairs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"need tokenizers; pip install 'backlit\[text\]'"):
        data.BPETokenizer.train(TEXT, 300)


def test_text_that_is_none(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"ab\xffc")
    with pytest.raises(FileFormatError, match="is no UTF-8 text: byte 2 is 0xff"):
        data.read_text(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes("ä\r\n".encode())
    assert data.read_text(tmp_path / "a.txt") == "ä\r\n"
    with pytest.raises(FileFormatError, match="cannot read"):
        data.read_text(tmp_path)


@pytest.mark.parametrize("stride", [None, 1, 3, 7])
def test_windows(stride):
    tokens = np.arange(100, dtype=np.uint16)
    windows = data.TokenWindows(tokens, 5, stride)
    step = stride or 5
    assert len(windows) == len([s for s in range(0, 100, step) if s + 6 <= 100])
    for i in (0, len(windows) - 1, -1):
        x, y = windows[i]
        begin = (i % len(windows)) * step
        assert x.tolist() == list(range(begin, begin + 5)) and y.tolist() == list(range(begin + 1, begin + 6))
        assert x.dtype == y.dtype == np.int64
    (batch,) = data.DataLoader(windows, 3, sampler=[0, 2, 1])
    assert batch[0].tolist() == [list(range(i * step, i * step + 5)) for i in (0, 2, 1)]
    with pytest.raises(IndexError, match="none has the number"):
        windows[len(windows)]


@pytest.mark.parametrize("tokens", [np.arange(5), np.ones(9), np.ones((9, 9), int), []])
def test_tokens_that_make_no_window(tokens):
    with pytest.raises(DataError, match="at least 6 tokens, integers on one axis"):
        data.TokenWindows(tokens, 5)
    with pytest.raises(ArgumentError, match="stride must be an integer of at least 1"):
        data.TokenWindows(np.arange(50), 5, 0)


def test_windows_of_a_file(tmp_path):
    np.save(tmp_path / "tokens.npy", np.arange(1000, dtype=np.uint16))
    windows = data.TokenWindows(data.open_npy(tmp_path / "tokens.npy"), 9)
    seen = [x for batch, _ in data.DataLoader(windows, 4, shuffle=True, num_workers=2) for x in batch.numpy().ravel()]
    assert sorted(seen) == list(range(9 * len(windows)))
    assert windows[-1][1].tolist() == [x + 1 for x in windows[len(windows) - 1][0].tolist()]


def test_lines_of_files(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\n\nlast")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"drei\n"))
    lines = data.TextLines(tmp_path / "a.txt", tmp_path / "b.txt.gz")
    assert list(lines) == ["one", "two", "", "last", "drei"]
    assert list(data.DataLoader(lines, 2)) == [["one", "two"], ["", "last"], ["drei"]]
    (tmp_path / "a.txt").write_bytes(b"one\n\xff\n")
    with pytest.raises(FileFormatError, match=r"a\.txt, line 2 is not UTF-8"):
        list(lines)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"x\n" * 9)[:-6])
    with pytest.raises(FileFormatError, match="is damaged after line"):
        list(data.TextLines(tmp_path / "b.txt.gz"))
    with pytest.raises(FileFormatError, match="cannot read"):
        list(data.TextLines(tmp_path / "none"))


class Count(data.IterableDataset):
    def __iter__(self):
        yield from range(100)

    def __len__(self):
        return 100


def test_a_shuffled_stream():
    loader = data.DataLoader(data.ShuffleBuffer(Count(), 10), 7, generator=bl.Generator(2))
    assert len(loader) == 15
    epochs = [[x for batch in loader for x in batch.tolist()] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100)) and epochs[0] != epochs[1]
    assert max(place - x for place, x in enumerate(epochs[0])) > 10  # one that was left lying for long
    assert min(place - x for place, x in enumerate(epochs[0])) >= -10  # none comes before the buffer reaches it
    again = data.DataLoader(data.ShuffleBuffer(Count(), 10), 7, generator=bl.Generator(2), num_workers=2)
    assert [x for batch in again for x in batch.tolist()] == epochs[0]
    passing = iter(again)
    next(passing)
    state = again.state_dict()
    other = data.DataLoader(data.ShuffleBuffer(Count(), 10), 7)
    other.load_state_dict(state)
    assert [x for batch in other for x in batch.tolist()] == epochs[1][7:]
    assert list(data.ShuffleBuffer(range(4), 1)) == [0, 1, 2, 3]
    whole = list(data.ShuffleBuffer(Count(), 200))  # which are all in the buffer at the end
    assert sorted(whole) == list(range(100)) != whole
    with pytest.raises(ArgumentError, match="size must be"):
        data.ShuffleBuffer(Count(), 0)
