import json
import math
import os
import signal
import stat
import subprocess
import sys
import time
import zlib

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import backlit
from backlit.core.errors import DataError, FileFormatError
from backlit.core.tensor import Tensor
from backlit.io import load, load_metadata, replace, save, state

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64", "complex128", ml_dtypes.bfloat16,
]  # fmt: skip


def assert_same(got, want):
    """Equal to the bit, in types too, with a Tensor where an array was."""
    if isinstance(want, (Tensor, np.ndarray)):
        want = np.asarray(want)
        assert isinstance(got, Tensor)
        assert got.shape == want.shape
        assert got.dtype == want.dtype.newbyteorder("=")
        assert got.numpy().tobytes() == want.astype(got.dtype).tobytes()
    elif isinstance(want, np.generic):
        assert type(got) is type(want)
        assert got.tobytes() == want.tobytes()
    elif isinstance(want, dict):
        assert type(got) is dict
        assert list(got) == list(want)
        for key, value in want.items():
            assert_same(got[key], value)
    elif isinstance(want, (list, tuple)):
        assert type(got) is type(want)
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)
    else:
        assert type(got) is type(want)
        assert repr(got) == repr(want)  # tells -0.0 from 0.0 and holds for nan


def round_trip(obj, path):
    save(obj, path)
    return load(path)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text()
    | hnp.arrays(
        st.sampled_from([np.dtype(d) for d in DTYPES[:-1]]), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
    )
    | hnp.arrays(np.float32, hnp.array_shapes(max_side=3)).map(lambda a: np.asarray(a, order="F").T[::-1])
)
trees = st.recursive(
    leaves,
    lambda children: (
        st.lists(children, max_size=4)
        | st.lists(children, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), children, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(tree=trees)
def test_any_tree_comes_back_the_same(tree, tmp_path_factory):
    assert_same(round_trip(tree, tmp_path_factory.mktemp("tree") / "tree.safetensors"), tree)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (2, 3)])
def test_arrays_of_every_dtype_and_shape(dtype, shape, tmp_path):
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    assert_same(round_trip({"a": array, "t": Tensor(array)}, tmp_path / "x"), {"a": array, "t": array})


@pytest.mark.parametrize("scalar", [np.float64(0.1), np.int8(-3), np.bool_(True), np.complex128(1 - 2j)])
def test_a_numpy_scalar_comes_back_as_one(scalar, tmp_path):
    assert_same(round_trip([scalar], tmp_path / "x"), [scalar])


def test_arrays_that_are_not_contiguous_or_big_endian(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    tree = [base.T, base[:, ::2], base[::-1], np.broadcast_to(base[0], (3, 6)), base.astype(">f4")]
    assert_same(round_trip(tree, tmp_path / "x"), tree)


def test_a_flat_dictionary_is_a_plain_file_for_other_programs(tmp_path):
    arrays = {"weight": np.ones((2, 3), np.float32), "bias": np.arange(2), "layers.0.scale": np.float32(2).reshape(())}
    save(arrays, tmp_path / "x")
    read = safetensors.numpy.load_file(tmp_path / "x")
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_a_nested_tree_names_its_tensors_by_their_path(tmp_path):
    save({"model": {"fc.weight": np.ones(2)}, "state": {0: [np.zeros(1)]}, "lr": 0.1}, tmp_path / "x")
    assert safetensors.numpy.load_file(tmp_path / "x").keys() == {"model.fc.weight", "state.0.0"}


def test_a_file_of_another_program_is_a_flat_dictionary(tmp_path):
    arrays = {"b": np.ones((2, 3), np.float32), "a": np.arange(2, dtype=ml_dtypes.bfloat16)}
    safetensors.numpy.save_file(arrays, tmp_path / "x", metadata={"format": "pt"})
    got = load(tmp_path / "x")
    assert got.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_same(got[name], array)
    assert load_metadata(tmp_path / "x") == {"format": "pt"}


@pytest.mark.parametrize(
    "tree",
    [
        {1: np.ones(1), "1": np.zeros(1)},
        {"a": {"b": np.ones(1)}, "a.b": np.zeros(1), "a.b_": np.full(1, 2.0)},
        {"__metadata__": np.ones(1)},
        {"": np.ones(1), "tensor": np.zeros(1)},
        np.ones(3),
        np.float64(3.0),
        {},
        [],
        None,
        {"z": 1, "a": np.ones(1), "m": {"y": (), "b": []}},
        [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1, 2**80, complex(-0.0, math.nan)],
    ],
)
def test_awkward_names_and_values(tree, tmp_path):
    assert_same(round_trip(tree, tmp_path / "x"), tree)


def test_the_header_is_json_that_every_parser_reads(tmp_path):
    save({1: [math.nan, math.inf, "\ud800"]}, tmp_path / "x", {"a": 1})
    with safetensors.safe_open(tmp_path / "x", "np") as file:
        _, text = file.metadata()["backlit"].split(" ", 1)
    assert json.loads(text, parse_constant=pytest.fail)["metadata"] == {"a": 1}  # called for NaN and Infinity


def test_subclasses_load_as_the_plain_type(tmp_path):
    class Named(dict):
        pass

    assert_same(round_trip(Named(a=np.str_("x"), b=signal.SIGINT), tmp_path / "x"), {"a": "x", "b": 2})


def test_tensors_that_require_gradients_are_saved_without_their_graph(tmp_path):
    x = backlit.tensor([1.0, 2.0], requires_grad=True)
    got = round_trip({"x": x, "y": x * 2.0}, tmp_path / "x")
    assert_same(got, {"x": np.array([1, 2], np.float32), "y": np.array([2, 4], np.float32)})
    assert not got["x"].requires_grad


def test_a_generator_continues_from_its_saved_state(tmp_path):
    generator, other = backlit.Generator(5), backlit.Generator(6)
    generator.permutation(7)
    other.set_state(round_trip(generator.get_state(), tmp_path / "x"))
    np.testing.assert_array_equal(generator.permutation(50), other.permutation(50))


def test_training_continues_from_a_saved_checkpoint_to_the_bit(tmp_path):
    def make():
        model = backlit.nn.Linear(3, 2)
        return model, backlit.optim.Adam(model.parameters(), lr=0.1)

    def step(model, optimizer):
        optimizer.zero_grad()
        (model(backlit.ones((4, 3))) ** 2.0).mean().backward()
        optimizer.step()

    model, optimizer = make()
    step(model, optimizer)
    save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "x")
    step(model, optimizer)
    resumed, resumed_optimizer = make()
    checkpoint = load(tmp_path / "x")
    resumed.load_state_dict(checkpoint["model"])
    resumed_optimizer.load_state_dict(checkpoint["optimizer"])
    step(resumed, resumed_optimizer)
    assert_same(resumed.state_dict(), model.state_dict())


def test_metadata_is_read_without_the_tensors(tmp_path):
    metadata = {"layers": [64, 10], "encoder": {"mean": 0.1, "name": "é"}}
    save({"w": np.ones(3)}, tmp_path / "x", metadata)
    assert load_metadata(tmp_path / "x") == metadata
    assert_same(load(tmp_path / "x"), {"w": np.ones(3)})
    save({"w": np.ones(3)}, tmp_path / "y")
    assert load_metadata(tmp_path / "y") == {}


# What cannot be saved


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": [1, {2, 3}]}, r"obj\['a'\]\[1\] is of type set"),
        ({"model": {0: object()}}, r"obj\['model'\]\[0\] is of type object"),
        (b"raw", "obj is of type bytes"),
        ([np.array(["a"])], r"obj\[0\] is an array of <U1"),
        ({"x": np.array([None])}, r"obj\['x'\] is an array of object"),
        ({"x": np.zeros(2, np.longdouble)}, r"obj\['x'\] is an array of float128"),
        ({"t": np.datetime64("2020-01-01")}, r"obj\['t'\] is an array of datetime64"),
        ({"a": {1.5: 2}}, r"obj\['a'\] has the key 1.5; keys must be strings or integers"),
        ({True: 2}, "obj has the key True"),
        ({None: 2}, "obj has the key None"),
        ({"\ud800": np.ones(1)}, "UTF-8"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(tree, words, tmp_path):
    with pytest.raises(DataError, match=words):
        save(tree, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_an_object_that_contains_itself(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(DataError, match="contains itself"):
        save(loop, tmp_path / "x")


@pytest.mark.parametrize("metadata", [{"a": math.nan}, {"a": object()}, {"a": np.ones(2)}])
def test_metadata_that_is_not_json(metadata, tmp_path):
    with pytest.raises(DataError, match="metadata is not JSON"):
        save({}, tmp_path / "x", metadata)


# Where it cannot be saved


def test_a_folder_is_no_place_for_a_file(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        save({}, tmp_path)


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(DataError, match=r"no/such.*does not exist"):
        save({}, tmp_path / "no" / "such" / "x")


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="device or a pipe"):
        save({}, tmp_path / "pipe")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


# Written as a whole


@pytest.fixture
def old(tmp_path):
    save({"w": np.ones(4)}, tmp_path / "x")
    return tmp_path / "x"


def assert_untouched(old):
    assert os.listdir(old.parent) == ["x"]
    assert_same(load(old), {"w": np.ones(4)})


def test_an_interrupt_in_the_middle_leaves_the_old_file(old, monkeypatch):
    def half(specs, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "serialize_file", half)
    with pytest.raises(KeyboardInterrupt):
        save({"w": np.zeros(4)}, old)
    assert_untouched(old)


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(function, old, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replace.os, function, full)
    with pytest.raises(DataError, match=r"cannot write .*x: No space left on device"):
        save({"w": np.zeros(4)}, old)
    monkeypatch.undo()
    assert_untouched(old)


def test_an_error_of_the_library_leaves_the_old_file(old, monkeypatch):
    def broken(specs, path, metadata):
        raise safetensors.SafetensorError("I/O error")

    monkeypatch.setattr(state, "serialize_file", broken)
    with pytest.raises(DataError, match="cannot write .*x: I/O error"):
        save({"w": np.zeros(4)}, old)
    assert_untouched(old)


def test_the_file_is_flushed_before_it_is_renamed_and_the_folder_after(old, monkeypatch):
    calls = []
    flush, rename = os.fsync, os.replace

    def fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def swap(source, target):
        calls.append("rename")
        rename(source, target)

    monkeypatch.setattr(replace.os, "fsync", fsync)
    monkeypatch.setattr(replace.os, "replace", swap)
    save({}, old)
    assert calls == ["file", "rename", "folder"]


def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path):
    script = """
import sys, numpy as np
from backlit.io import save
for n in range(100000):
    save({"n": n, "w": np.full(200_000, n, np.float32)}, sys.argv[1])
"""
    path = tmp_path / "x"
    for wait_s in (0.0, 0.013, 0.029):
        path.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        try:
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(wait_s)
        finally:
            process.kill()
            process.wait()
        got = load(path)
        assert np.all(got["w"].numpy() == got["n"])


def test_permissions_and_links_are_kept(old):
    os.chmod(old, 0o640)
    link = old.parent / "link"
    link.symlink_to("x")
    save({"w": np.zeros(2)}, link)
    assert link.is_symlink()
    assert stat.S_IMODE(os.stat(old).st_mode) == 0o640
    assert_same(load(old), {"w": np.zeros(2)})


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    save({}, tmp_path / "x")
    (tmp_path / "y").touch()
    assert os.stat(tmp_path / "x").st_mode == os.stat(tmp_path / "y").st_mode


# What cannot be loaded


@pytest.mark.parametrize("read", [load, load_metadata])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (os.mkdir, "is a folder"),
        (os.mkfifo, "is no ordinary file"),
        (lambda path: path.write_bytes(b""), "damaged or no safetensors file"),
        (lambda path: path.write_text("a,b\n1,2\n" * 20), "damaged or no safetensors file"),
        (lambda path: path.write_bytes(b"\x93NUMPY" * 40), "damaged or no safetensors file"),
        (lambda path: path.write_bytes((2).to_bytes(8, "little") + b"[]"), "damaged or no safetensors file"),
        (lambda path: path.write_bytes((2**62).to_bytes(8, "little") + b"{}"), "damaged or no safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_named(make, words, read, tmp_path):
    make(tmp_path / "bad.safetensors")
    with pytest.raises(FileFormatError, match=rf"bad\.safetensors.*{words}"):
        read(tmp_path / "bad.safetensors")


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample"
    save({"w": np.arange(3.0), "b": [np.ones(2, np.float32), 7], "n": 3}, path, {"layers": [3, 2]})
    return path


def test_a_file_cut_off_anywhere_is_an_error(sample):
    whole = sample.read_bytes()
    for length in range(len(whole)):
        sample.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match="sample"):
            load(sample)


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_bit_anywhere_is_an_error(bit, sample):
    whole = sample.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << bit
        sample.write_bytes(changed)
        with pytest.raises(FileFormatError, match="sample"):
            load(sample)


def forge(path, head, arrays):
    text = json.dumps(head) if not isinstance(head, str) else head
    header = {"backlit": f"{zlib.crc32(text.encode())} {text}"}
    safetensors.numpy.save_file(arrays, path, metadata=header)


@pytest.mark.parametrize(
    "tree",
    [
        {"tensor": "absent"},
        {"tensor": []},
        {"tensor": {}},
        {"tensor": ["w"]},
        {"dict": [[1]]},
        {"dict": 3},
        {"dict": [[[], 1]]},
        {"complex": ["1", "x"]},
        {"code": "import os"},
        {},
    ],
)
def test_a_hostile_tree_is_an_error(tree, tmp_path):
    arrays = {"w": np.ones(3, np.float32)}
    checksum = state._checksum(arrays)
    forge(tmp_path / "x", {"version": 1, "metadata": {}, "tensors_crc32": checksum, "tree": {"tensor": "w"}}, arrays)
    assert_same(load(tmp_path / "x"), arrays["w"])  # the forgery itself is sound
    forge(tmp_path / "x", {"version": 1, "metadata": {}, "tensors_crc32": checksum, "tree": tree}, arrays)
    with pytest.raises(FileFormatError, match="tree is malformed"):
        load(tmp_path / "x")


@pytest.mark.parametrize("head", ["{", "[" * 100_000, "[]", "{}", '{"version": 1}', '{"version": 1, "metadata": 3}'])
def test_a_hostile_header_is_an_error(head, tmp_path):
    forge(tmp_path / "x", head, {})
    with pytest.raises(FileFormatError):
        load(tmp_path / "x")
    with pytest.raises(FileFormatError):
        load_metadata(tmp_path / "x")


def test_a_file_of_a_later_format_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "_VERSION", 2)
    save({}, tmp_path / "x")
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match="has format 2, this backlit reads 1; use the version that wrote it"):
        load(tmp_path / "x")


def test_a_tensor_of_an_unknown_type_is_named(tmp_path):
    array = np.ones(2, ml_dtypes.float8_e4m3fn)
    spec = safetensors.TensorSpec(dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=2)
    safetensors.serialize_file({"w8": spec}, tmp_path / "x")
    with pytest.raises(FileFormatError, match="'w8' has the type F8_E4M3"):
        load(tmp_path / "x")
