import gzip
import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from backlit import data
from backlit.core.errors import DataError, FileFormatError


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("name", ["a.idx", "a.gz"])
def test_idx_files_come_back(tmp_path, dtype, name):
    for shape in ((2, 3, 4), (5,), (), (0, 3)):
        x = (np.arange(np.prod(shape, dtype=int)) - 3).astype(dtype).reshape(shape)
        data.write_idx(x, tmp_path / name)
        back = data.read_idx(tmp_path / name)
        assert back.dtype == x.dtype and back.dtype.isnative and back.flags.writeable
        np.testing.assert_array_equal(back, x)


def test_the_bytes_of_an_idx_file(tmp_path):
    (tmp_path / "labels").write_bytes(b"\0\0\x08\x01\0\0\0\x03\x05\x00\x04")  # as of MNIST's labels
    assert data.read_idx(tmp_path / "labels").tolist() == [5, 0, 4]
    (tmp_path / "numbers").write_bytes(b"\0\0\x0b\x02\0\0\0\x01\0\0\0\x02\x01\x00\xff\xff")
    assert data.read_idx(tmp_path / "numbers").tolist() == [[256, -1]]
    with pytest.raises(DataError, match="the format has no complex64"):
        data.write_idx(np.zeros(2, np.complex64), tmp_path / "c")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_idx_files(tmp_path, compressed):
    data.write_idx(np.arange(100, dtype=np.uint8).reshape(10, 10), tmp_path / "good")
    good, path = (tmp_path / "good").read_bytes(), tmp_path / "bad"
    for content, message in [
        (good[:-1], "takes 100 bytes, it has 99"),
        (good + b"x", "takes 100 bytes, it has more"),
        (good[:7], "ends within its head"),
        (b"", "is no IDX file"),
        (b"hello", "is no IDX file"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "it has 0"),
    ]:
        path.write_bytes(gzip.compress(content) if compressed else content)
        with pytest.raises(FileFormatError, match=message):
            data.read_idx(path)
    path.write_bytes(gzip.compress(good)[:-9])
    with pytest.raises(FileFormatError, match="damaged"):
        data.read_idx(path)
    with pytest.raises(FileFormatError, match="cannot read .*: No such file"):
        data.read_idx(tmp_path / "none")


def test_npz_files_come_back(tmp_path):
    arrays = {
        "x": np.arange(6.0).reshape(2, 3),
        "y": np.array(3),
        "z": np.asfortranarray(np.ones((2, 4))),
        "n": np.zeros((0, 2)),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        back = data.read_npz(tmp_path / "a.npz")
        assert list(back) == list(arrays)
        for name, x in arrays.items():
            np.testing.assert_array_equal(back[name], x)
            assert back[name].flags.writeable and back[name].dtype == x.dtype


def test_npz_files_with_python_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], object))
    with pytest.raises(FileFormatError, match=r"x\.npy holds Python objects"):
        data.read_npz(tmp_path / "a.npz")
    np.save(tmp_path / "a.npy", np.array([{}], object))
    with pytest.raises(FileFormatError, match="holds Python objects"):
        data.open_npy(tmp_path / "a.npy")


def test_damaged_npz_files(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(1000.0), y=np.arange(10))
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        bad = bytearray(good)
        if rng.random() < 0.5:
            bad = bad[: rng.integers(len(bad))]
        else:
            for at in rng.integers(0, len(bad), 3):
                bad[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bad)
        try:
            found = data.read_npz(path)
        except FileFormatError as error:
            refused += 1
            assert "\n" not in str(error)
        else:  # what is not looked at: dates, names, flags
            assert all(
                np.array_equal(a, b) for a, b in zip(found.values(), (np.arange(1000.0), np.arange(10)), strict=False)
            )
    assert refused > 150


def test_an_npz_file_that_says_it_is_larger_than_it_is(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue() + b"12345678")
    with pytest.raises(FileFormatError, match="takes 9007199254740992 bytes, it has others"):
        data.read_npz(tmp_path / "a.npz")
    (tmp_path / "a.npy").write_bytes(head.getvalue() + b"12345678")
    with pytest.raises(FileFormatError, match="takes 9007199254740992 bytes, the file has 8"):
        data.open_npy(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "open_file", [data.open_npy, lambda path: np.load(path, mmap_mode="r")], ids=["read", "mapped"]
)
def test_arrays_in_files(tmp_path, open_file):
    x = np.arange(24.0).reshape(4, 3, 2)
    np.save(tmp_path / "a.npy", x)
    found = open_file(tmp_path / "a.npy")
    assert (found.shape, found.dtype, found.ndim, len(found), found.nbytes) == (x.shape, x.dtype, 3, 4, x.nbytes)
    for index in (2, -1, slice(1, 3), slice(None, None, -2), slice(3, 1), np.array([3, 0, 3, -4]), [1, 2], np.array([[0, 1]]),
                  np.array([], int), np.array([True, False, True, False])):  # fmt: skip
        np.testing.assert_array_equal(found[index], x[index])
    np.testing.assert_array_equal(np.asarray(found), x)
    with pytest.raises(IndexError):
        found[np.array([0, 4])]
    with pytest.raises(IndexError):
        found[-5]
    for workers in (0, 3):
        dataset = data.TensorDataset(found, np.arange(4))
        (batch,) = data.DataLoader(dataset, 4, shuffle=True, num_workers=workers)
        np.testing.assert_array_equal(batch[0].numpy(), x[batch[1].numpy()])
    both = data.ConcatDataset([data.TensorDataset(found), data.TensorDataset(x + 1)])
    (batch,) = data.DataLoader(both, 8)
    np.testing.assert_array_equal(batch[0].numpy(), np.concatenate([x, x + 1]))
    (batch,) = data.DataLoader(data.Subset(found, [2, 1]), 2)
    np.testing.assert_array_equal(batch.numpy(), x[[2, 1]])


def test_arrays_in_files_of_odd_shapes(tmp_path):
    np.save(tmp_path / "empty.npy", np.ones((0, 3)))
    assert data.open_npy(tmp_path / "empty.npy")[:].shape == (0, 3)
    np.save(tmp_path / "thin.npy", np.ones((4, 0)))
    assert data.open_npy(tmp_path / "thin.npy")[np.array([1, 2])].shape == (2, 0)
    assert "thin.npy: float64[4, 0]" in repr(data.open_npy(tmp_path / "thin.npy"))
    for x in (np.asfortranarray(np.ones((2, 3))), np.float64(3.0)):
        np.save(tmp_path / "a.npy", x)
        with pytest.raises(FileFormatError, match="no rows one after another"):
            data.open_npy(tmp_path / "a.npy")


def test_a_file_that_becomes_shorter(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(10_000.0))
    found = data.open_npy(path)
    with open(path, "rb+") as file:
        file.truncate(5000)
    assert found[3] == 3.0
    with pytest.raises(FileFormatError, match="became shorter while it was read"):
        found[np.array([3, 9000])]


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system does not read at a place")
def test_reads_that_give_less_than_was_asked(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.arange(100.0))
    found = data.open_npy(tmp_path / "a.npy")
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, into, offset: whole(descriptor, [into[0][:5]], offset))
    assert found[:].tolist() == list(range(100))


def test_where_the_system_does_not_read_at_a_place(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "preadv", raising=False)
    np.save(tmp_path / "a.npy", np.arange(1000.0))
    found = data.open_npy(tmp_path / "a.npy")
    batches = list(data.DataLoader(found, 50, shuffle=True, num_workers=3))
    assert sorted(np.concatenate([b.numpy() for b in batches]).tolist()) == list(range(1000))


def test_raw_files(tmp_path):
    x = np.arange(-6, 6, dtype=">i2").reshape(4, 3)
    (tmp_path / "a.raw").write_bytes(b"head" + x.tobytes())
    mapped = data.open_raw(tmp_path / "a.raw", ">i2", (3,), offset=4)
    np.testing.assert_array_equal(mapped, x)
    (batch,) = data.DataLoader(mapped, 4)
    np.testing.assert_array_equal(batch.numpy(), x)
    (tmp_path / "none.raw").write_bytes(b"")
    assert data.open_raw(tmp_path / "none.raw", np.float32, (2,)).shape == (0, 2)
    for arguments in (("f4", (5,)), ("i2", (3,), 3), ("i2", (3,), 99), ("O", ()), ("i2", (0,))):
        with pytest.raises(DataError, match="no whole number of rows"):
            data.open_raw(tmp_path / "a.raw", *arguments)
    for wrong in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileFormatError, match="is a folder|does not exist"):
            data.open_raw(wrong, "f4")


def test_damaged_npy_files(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(100.0))
    good = path.read_bytes()
    for bad in (
        good[:-1],
        good + b"x",
        good[:30],
        b"",
        b"hello",
        good.replace(b"<f8", b"<x8"),
        b"\x93NUMPY\x09" + good[7:],
    ):
        path.write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"damaged|no \.npy file") as caught:
            data.open_npy(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="nothing says here what memory is used")
def test_a_pass_over_a_file_takes_no_memory_for_it(tmp_path):
    path = tmp_path / "large.raw"
    with open(path, "wb") as file:
        file.writelines(np.full(1 << 20, part, np.uint8).tobytes() for part in range(100))
    program = f"""
import resource
import numpy as np
from backlit import data
rows = data.open_raw({str(path)!r}, np.uint8, (4096,))
next(iter(data.DataLoader(rows, 64)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
whole = sum(int(x.numpy().sum()) for x in data.DataLoader(rows, 64, shuffle=True))
print(whole == sum(range(100)) << 20, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    right, megabytes = done.stdout.split()
    assert right == "True" and int(megabytes) < 20
