import numpy as np
import pytest

from backlit import data
from backlit.core.errors import ArgumentError, DataError

pl = pytest.importorskip("polars", reason="the extra table is not installed")


def flowers(n=60):
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 3
    return pl.DataFrame({"length": kind + 0.1 * rng.standard_normal(n), "colour": [["red", "blue"][i] for i in kind % 2],
                         "kind": [["iris", "rose", "lily"][i] for i in kind]})  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".parquet", None])
def test_a_table_as_datasets(tmp_path, suffix):
    frame = table = flowers()
    if suffix is not None:
        table = tmp_path / f"flowers{suffix}"
        if suffix == ".parquet":
            frame.write_parquet(table)
        else:
            data.write_csv(frame, tmp_path / "flowers.csv")
            if suffix == ".tsv.gz":
                import gzip

                table.write_bytes(gzip.compress((tmp_path / "flowers.csv").read_bytes().replace(b",", b"\t")))
    split = data.split_table(table, "kind")
    assert (len(split.train), len(split.test)) == (48, 12)
    x, y = next(iter(data.DataLoader(split.train, 48)))
    assert x.dtype == np.float32 and y.dtype == np.int64 and x.shape == (48, len(split.encoder.columns) + 1)
    assert np.bincount(y.numpy()).tolist() == [16, 16, 16]
    names = split.encoder.decode(np.eye(3)[split.test.tensors[1]])
    assert set(names) == {"iris", "rose", "lily"} and "60 rows, 12 held out" in split.report


def test_a_regression_has_a_column_of_targets():
    split = data.split_table(flowers(), "length", fraction=0.5, seed=3, drop=["colour"])
    x, y = split.train[0]
    assert y.shape == (1,) and y.dtype == np.float32 and x.shape == (3,)
    again = data.split_table(flowers(), "length", fraction=0.5, seed=3, drop=["colour"])
    np.testing.assert_array_equal(split.train.tensors[1], again.train.tensors[1])
    true = sorted(split.encoder.decode(np.concatenate([split.train.tensors[1], split.test.tensors[1]])).tolist())
    np.testing.assert_allclose(true, sorted(flowers()["length"].to_list()), atol=1e-6)


def test_tables_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        data.split_table(tmp_path / "none.csv", "kind")
    with pytest.raises(DataError, match="there is no column 'sort'"):
        data.split_table(flowers(), "sort")
    with pytest.raises(ArgumentError, match="fraction must be between 0 and 1"):
        data.split_table(flowers(), "kind", fraction=2)
