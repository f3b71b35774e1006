import datetime
import json
import math

import numpy as np
import polars as pl
import pytest

from backlit.core.errors import ArgumentError, DataError, FileFormatError
from backlit.data import Encoder, Target, split_rows
from backlit.io import load_metadata, read_table, save

TEXT = """size,member,colour,note,unit,price
1,true,red,first,cm,10
3,false,blue,second,cm,12
NA,true,red,third,cm,11
5,true,,fourth,cm,15
3,false,blue,fifth,cm,14
1,true,red,sixth,cm,
3,true,green,seventh,cm,13
5,false,green,eighth,cm,12
3,true,red,ninth,cm,11
1,false,blue,tenth,cm,10
3,true,red,eleventh,cm,12
"""


@pytest.fixture
def frame(tmp_path):
    (tmp_path / "t.csv").write_text(TEXT)
    return read_table(tmp_path / "t.csv")


@pytest.fixture
def encoder(frame):
    return Encoder.fit(frame, "price", task="regression")


def table(n=12, **columns):
    """A frame of `n` rows with a target `y`; the values of each column are repeated to that length."""
    data = {name: (values * n)[:n] for name, values in {"y": [0.5, 1.5], **columns}.items()}
    return pl.DataFrame({name: pl.Series(values, strict=False) for name, values in data.items()})


def test_features_are_named_in_order(encoder):
    assert encoder.feature_names == [
        "size", "size is missing", "member", "colour=blue", "colour=green", "colour=red", "colour is missing",
    ]  # fmt: skip


def test_every_kind_of_column_becomes_numbers(encoder, frame):
    features = encoder.transform(frame)
    # The ten rows with a price have sizes 1 3 3 5 3 3 5 3 1 3, the third being the training median:
    # mean 3, variance (4 + 4 + 4 + 4) / 10.
    size = (np.array([1, 3, 3, 5, 3, 1, 3, 5, 3, 1, 3]) - 3) / math.sqrt(1.6)
    colour = {"blue": [1, 0, 0, 0], "green": [0, 1, 0, 0], "red": [0, 0, 1, 0], None: [0, 0, 0, 1]}
    expected = np.column_stack(
        [size, frame["size"].is_null(), frame["member"], np.array([colour[c] for c in frame["colour"]])]
    )
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-6)


def test_the_report_says_what_was_done(encoder):
    assert encoder.report == (
        "1 of 11 rows have no target 'price' and are left out",
        "target 'price': regression, as asked; mean 12, standard deviation 1.54919",
        "numeric: 'size'",
        "boolean: 'member'",
        "categorical: 'colour' (3 values)",
        "'size': 1 of 10 values are missing; taken as 3, and marked",
        "'colour': 1 of 10 values are missing; a category of their own",
        "dropped 'note': it has 10 distinct texts in 10 rows, too many to be categories",
        "dropped 'unit': it has the same value in every row",
    )


def test_the_target_is_encoded_and_decoded(encoder, frame):
    labelled = encoder.target.labelled(frame)
    values = encoder.encode_target(labelled)
    assert values.mean() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(encoder.decode(values), labelled["price"], rtol=1e-6)


def test_it_survives_json_and_a_model_file(encoder, frame, tmp_path):
    save({"w": np.ones(1)}, tmp_path / "model", {"encoder": encoder.to_json()})
    for data in (json.loads(json.dumps(encoder.to_json())), load_metadata(tmp_path / "model")["encoder"]):
        again = Encoder.from_json(data)
        assert again == encoder
        np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))


@pytest.mark.parametrize("data", [{}, [], {"target": 3}, {"target": {"name": "y", "tusk": 1}, "columns": []}])
def test_json_of_something_else(data):
    with pytest.raises(FileFormatError, match="not the description of an encoder"):
        Encoder.from_json(data)


def test_a_target_inferred_before_the_split_keeps_its_classes():
    frame = table(20, x=[1.0, 2.0, 4.0]).with_columns(y=pl.Series(["a"] * 12 + ["b"] * 6 + ["c"] * 2))
    target = Target.infer(frame, "y")
    train, test = split_rows(target.encode(frame), frame.height)
    encoder = Encoder.fit(frame[train], target)
    assert encoder.target.classes == ("a", "b", "c")
    assert encoder.columns[0].mean == pytest.approx(frame[train]["x"].mean())
    assert set(encoder.encode_target(frame[test])) <= {0, 1, 2}


def test_a_target_inferred_before_the_split_is_standardised_on_training_rows():
    frame = table(12, x=[1.0, 2.0]).with_columns(y=pl.Series([0.5, 1.5] * 5 + [100.0, 100.0]))
    encoder = Encoder.fit(frame[:10], Target.infer(frame, "y"))
    assert (encoder.target.mean, encoder.target.std) == (1.0, 0.5)
    with pytest.raises(DataError, match="inferred for regression, but classification is asked"):
        Encoder.fit(frame, Target.infer(frame, "y"), task="classification")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b", "c", "d", "e", "f"], "categorical"),  # six values in twelve rows, twice each
        (["a", "b", "c", "d", "e", "f", "g"], None),
        (["2020-01-01", "2020-02-01"], "categorical"),
        ([f"2020-01-{i:02}" for i in range(1, 13)], None),
        ([datetime.date(2020, 1, i) for i in range(1, 13)], None),
        ([datetime.date(2020, 1, 1), datetime.date(2020, 2, 1)], "categorical"),
        ([1, 2], "numeric"),
        ([1.5, None], "numeric"),
        ([True, False], "boolean"),
        (["x", None], "categorical"),
        (["x"], None),
        ([7.0], None),
        ([True], None),
        ([[1], [2]], None),
        ([b"x", b"y"], None),
    ],
)
def test_the_kind_of_a_column(values, kind):
    encoder = Encoder.fit(table(z=[1, 2, 3], x=values), "y")
    found = {column.name: column.kind for column in encoder.columns}
    assert found.get("x") == kind
    assert ("x" in encoder.dropped) == (kind is None)


def test_more_than_a_hundred_categories_are_dropped():
    encoder = Encoder.fit(table(300, z=[1, 2], x=[f"c{i}" for i in range(101)], w=[f"c{i}" for i in range(100)]), "y")
    assert encoder.dropped == ("x",)
    assert "dropped 'x': it has 101 distinct texts in 300 rows, too many to be categories" in encoder.report


def test_a_dropped_column_that_is_nearly_all_numbers_says_so():
    values = [*(str(i) for i in range(11)), "12,5"]
    report = Encoder.fit(table(z=[1, 2], x=values), "y").report
    assert report[-1].endswith("too many to be categories; 11 of them are numbers, '12,5' is not")


def test_a_value_that_is_there_or_not_is_kept_as_an_indicator():
    encoder = Encoder.fit(table(4 * 3, x=[7.0, None], w=[True, None], v=[0.1, 0.1, None]), "y")
    features = encoder.transform(table(2, x=[7.0, None], w=[True, None], v=[0.1, None]))
    assert encoder.feature_names == ["x", "x is missing", "w", "w is missing", "v", "v is missing"]
    np.testing.assert_array_equal(features, [[0, 0, 1, 0, 0, 0], [0, 1, 1, 1, 0, 1]])


def test_a_missing_boolean_is_the_more_frequent_one():
    encoder = Encoder.fit(table(12, x=[True, False, False, None]), "y")
    np.testing.assert_array_equal(encoder.transform(table(4, x=[True, False, False, None]))[:, 0], [1, 0, 0, 0])


def test_a_missing_number_is_the_median_not_the_mean():
    encoder = Encoder.fit(table(12, x=[1.0, 2.0, 9.0, None]), "y")
    features = encoder.transform(table(2, x=[2.0, None]))
    assert features[0, 0] == features[1, 0]


def test_nan_is_missing():
    encoder = Encoder.fit(table(12, x=[1.0, 3.0, math.nan, 3.0]), "y")
    assert encoder.feature_names == ["x", "x is missing"]
    np.testing.assert_array_equal(encoder.transform(table(4, x=[1.0, 3.0, math.nan]))[:, 1], [0, 0, 1, 0])


def test_unsigned_and_decimal_numbers():
    frame = table(12, x=[1, 3]).with_columns(u=pl.Series([0, 200] * 6, dtype=pl.UInt8))
    frame = frame.with_columns(d=frame["x"].cast(pl.Decimal(10, 2)))
    np.testing.assert_array_equal(Encoder.fit(frame, "y").transform(frame[:2]), [[-1, -1, -1], [1, 1, 1]])


# Later tables


def test_later_surprises_are_reported(encoder, frame):
    later = frame[:3].with_columns(
        size=pl.Series([None, 1, 3]), member=pl.Series([None, True, False]), colour=pl.Series(["pink", "red", "teal"])
    )
    report = []
    features = encoder.transform(later.drop("price", "note").with_columns(extra=1), report)
    np.testing.assert_array_equal(features[:, 2], [1, 1, 0])
    np.testing.assert_array_equal(features[:, 3:], [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    assert report == [
        "columns that training did not have are not used: 'extra'",
        "'member': 1 missing values, none in training; taken as 1, the middle of the training values",
        "'colour': 2 values not seen in training ('pink', 'teal'), taken as no category",
    ]


def test_a_missing_category_that_training_did_not_have():
    encoder = Encoder.fit(table(x=["a", "b"]), "y")
    report = []
    np.testing.assert_array_equal(encoder.transform(table(2, x=["b", None]), report), [[0, 1], [0, 0]])
    assert report == ["'x': 1 missing values, none in training; taken as no category"]


def test_a_table_like_the_training_rows_gives_no_report(encoder, frame):
    report = []
    encoder.transform(frame, report)
    assert report == []


def test_no_rows_give_no_features(encoder, frame):
    assert encoder.transform(frame[:0]).shape == (0, 7)


def test_columns_without_values_in_a_later_table(encoder, frame):
    later = pl.DataFrame({"size": [None], "member": [None], "colour": [None]})
    np.testing.assert_array_equal(encoder.transform(later), [[0, 1, 1, 0, 0, 0, 1]])
    np.testing.assert_array_equal(encoder.transform(later.cast(pl.String)), [[0, 1, 1, 0, 0, 0, 1]])


def test_categories_that_look_like_numbers_in_a_later_table():
    encoder = Encoder.fit(table(x=["1", "x"]), "y")
    np.testing.assert_array_equal(encoder.transform(table(2, x=[1, 2])), [[1, 0], [0, 0]])


def test_missing_columns_are_all_named(encoder, frame):
    with pytest.raises(DataError, match="lacks columns that were used in training: 'size', 'colour'$"):
        encoder.transform(frame.drop("size", "colour", "note", "unit"))


def test_columns_of_another_kind_are_all_named(encoder, frame):
    later = frame.with_columns(size=pl.lit("big"), member=3)
    with pytest.raises(DataError) as caught:
        encoder.transform(later)
    assert str(caught.value) == (
        "columns are of another kind than in training: 'size' was numeric in training and is text here, such as 'big'; "
        "'member' was boolean in training and is numeric here, such as 3"
    )
    with pytest.raises(DataError, match="'colour' was categorical in training and is unusable here"):
        encoder.transform(frame.with_columns(colour=pl.Series([[1]] * frame.height)))


def test_numbers_far_from_training(encoder, frame):
    with pytest.raises(DataError, match=r"'size' has values too far from those in training, such as -1e\+300"):
        encoder.transform(frame.with_columns(size=pl.Series([-1e300] + [1.0] * 10)))
    with pytest.raises(DataError, match="'size' has 1 infinite values, the first in row 2"):
        encoder.transform(frame.with_columns(size=pl.Series([0.0, math.inf] + [1.0] * 9)))


# What cannot be learned from


def test_columns_without_values_name_the_way_out():
    frame = table(x=[1, 2], a=[None], b=[math.nan])
    with pytest.raises(DataError, match=r"'a', 'b'; leave out with drop=\['a', 'b'\] \(--drop a --drop b\)"):
        Encoder.fit(frame, "y")
    encoder = Encoder.fit(frame, "y", drop=["a", "b"])
    assert encoder.feature_names == ["x"]
    assert encoder.report[-1] == "dropped 'b': as asked"


def test_dropping_what_is_not_there_or_the_target():
    with pytest.raises(DataError, match=r"no column 'sixe'; did you mean 'size'\?"):
        Encoder.fit(table(size=[1, 2]), "y", drop=["sixe"])
    with pytest.raises(DataError, match="the target 'y' cannot be dropped"):
        Encoder.fit(table(size=[1, 2]), "y", drop=["y"])


def test_nothing_left_to_learn_from():
    with pytest.raises(DataError, match="no column is left to learn 'y' from$"):
        Encoder.fit(table(), "y")
    with pytest.raises(DataError, match=r"left to learn 'y' from \('u': as asked; 'x': it has the same value"):
        Encoder.fit(table(x=[1], u=[1, 2]), "y", drop=["u"])


def test_infinite_and_too_wide_columns():
    with pytest.raises(DataError, match="'x' has 6 infinite values, the first in row 2 of the data"):
        Encoder.fit(table(x=[1.0, -math.inf]), "y")
    with pytest.raises(DataError, match="'x' ranges over -1e.300 to 1e.300, which cannot be standardised"):
        Encoder.fit(table(x=[1e300, -1e300]), "y")


def test_faults_of_the_target_are_told():
    with pytest.raises(DataError, match="no column 'z'"):
        Encoder.fit(table(x=[1, 2]), "z")
    with pytest.raises(DataError, match="at least 10 rows"):
        Encoder.fit(table(9, x=[1, 2]), "y")
    with pytest.raises(ArgumentError, match="got 'rank'"):
        Encoder.fit(table(x=[1, 2]), "y", task="rank")
    with pytest.raises(DataError, match="no row has a target 'y'"):
        target = Target.infer(table(x=[1, 2]), "y")
        Encoder.fit(table(x=[1, 2], y=[None]), target)
