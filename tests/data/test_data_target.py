import numpy as np
import polars as pl
import pytest

import backlit
from backlit.core.errors import ArgumentError, DataError, ShapeError
from backlit.data import Target


def frame_of(values, dtype=None, name="y"):
    return pl.DataFrame({"x": list(range(len(values))), name: pl.Series(values, dtype=dtype, strict=False)})


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 5, "classification", ("a", "b")),
        ([True, False] * 5, "classification", (False, True)),
        ([3, 1] * 5, "classification", (1, 3)),
        (list(range(20)) * 5, "classification", tuple(range(20))),
        (list(range(21)) * 5, "regression", ()),  # too many values
        ([1, 2, 3] * 4 + [1, 2], "regression", ()),  # 14 rows for 3 values: not five each
        ([1, 2] * 9 + [3], "regression", ()),  # a value that comes once
        ([1.0, 2.0] * 10, "regression", ()),
    ],
)
def test_the_task_follows_from_the_values(values, task, classes):
    target = Target.infer(frame_of(values), "y")
    assert (target.task, target.classes) == (task, classes)
    assert target.n_outputs == (len(classes) or 1)


def test_the_task_can_be_asked_for():
    assert Target.infer(frame_of([1, 2] * 5), "y", "regression").task == "regression"
    assert Target.infer(frame_of([1.0, 3.0] * 5), "y", "classification").classes == (1, 3)
    assert Target.infer(frame_of(list(range(9)) * 2), "y", "classification").classes == tuple(range(9))


def test_regression_values_are_standardised_and_undone():
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, 5.0, 5.0]  # mean 5, variance (9+1+1+1+4+16)/10 = 3.2
    target = Target.infer(frame_of(values), "y")
    assert target.mean == 5.0
    assert target.std == pytest.approx(3.2**0.5, rel=1e-15)
    encoded = target.encode(frame_of([5.0, 9.0]))
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, [0.0, 4 / 3.2**0.5], rtol=1e-7)
    for outputs in (encoded, encoded[:, None], backlit.tensor(encoded)):
        decoded = target.decode(outputs)
        assert decoded.dtype == np.float64
        np.testing.assert_allclose(decoded, [5.0, 9.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("classes", "dtype"), [(["x", "y"], None), ([False, True], None), ([-1, 4], None), (["x", "y"], pl.Categorical)]
)
def test_labels_are_positions_and_come_back_as_classes(classes, dtype):
    target = Target.infer(frame_of(classes * 5, dtype), "y")
    labels = target.encode(frame_of([classes[1], classes[0], classes[1]], dtype))
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 1]
    outputs = np.array([[0.0, 1.0], [2.0, 1.0], [-5.0, -4.0]])
    assert target.decode(outputs).tolist() == [classes[1], classes[0], classes[1]]


def test_rows_without_a_target_are_counted_and_left_out():
    frame = frame_of([1.0, None, float("nan")] + [2.0] * 9)
    target = Target.infer(frame, "y")
    assert target.report[0] == "2 of 12 rows have no target 'y' and are left out"
    assert target.labelled(frame)["x"].to_list() == [0, *range(3, 12)]
    with pytest.raises(DataError, match="2 rows have no target 'y'; leave them out with labelled"):
        target.encode(frame)


def test_the_report_says_what_was_found():
    assert Target.infer(frame_of(["b", "a"] * 5), "y").report == (
        "target 'y': classification, taken from its texts; 2 classes: 'a', 'b'",
    )
    assert Target.infer(frame_of([0, 2] * 5), "y", "regression").report == (
        "target 'y': regression, as asked; mean 1, standard deviation 1",
    )


def test_a_target_named_count_is_no_exception():
    assert Target.infer(frame_of([1, 2] * 5, name="count"), "count").classes == (1, 2)


@pytest.mark.parametrize(
    ("values", "task", "words"),
    [
        (["a"] * 5 + ["b"] * 4, None, "at least 10 rows with a target 'y', got 9"),
        ([None] * 12, None, "at least 10 rows with a target 'y', got 0"),
        (["a", None] * 9, None, "at least 10 rows with a target 'y', got 9"),
        (["a"] * 12, None, "'y' has a single class, 'a'; there is nothing to learn"),
        ([1.5] * 12, None, "'y' has a single value, 1.5"),
        ([3] * 12, None, "'y' has a single class, 3"),
        (["a"] * 12 + ["b", "c"], None, "classes with a single row: 'b', 'c'; leave these rows out"),
        ([f"n{i}" for i in range(12)], None, "a single row: .* and 2 more"),
        ([1, 2] * 6 + [7], "classification", "classes with a single row: 7"),
        (["a", "b"] * 6, "regression", "'y' is text, such as 'a'; regression needs numbers"),
        ([True, False] * 6, "regression", "'y' is boolean, such as True; regression needs numbers"),
        ([1.0, 2.5] * 6, "classification", "not whole, such as 2.5; use task 'regression'"),
        ([1e300, 1e19] * 6, "classification", r"not whole, such as 1e\+300"),
        ([1.0, float("inf")] * 6, None, "6 infinite values, the first in row 2"),
        ([1e200, -1e200] * 6, None, "cannot be standardised; rescale it"),
        ([[1], [2]] * 6, None, r"values of type List\(Int64\)"),
    ],
)
def test_a_target_that_cannot_be_learned(values, task, words):
    with pytest.raises(DataError, match=words):
        Target.infer(frame_of(values), "y", task)


def test_an_unknown_target_suggests_near_names():
    frame = pl.DataFrame({"Species": ["a"], "island": [1]})
    with pytest.raises(DataError, match=r"no column 'specie'; did you mean 'Species'\?"):
        Target.infer(frame, "specie")
    with pytest.raises(DataError, match=r"no column 'zzz'; the columns are 'Species', 'island'"):
        Target.infer(frame, "zzz")


def test_an_unknown_task():
    with pytest.raises(ArgumentError, match="got 'clustering'"):
        Target.infer(frame_of([1, 2] * 5), "y", "clustering")


@pytest.mark.parametrize(
    ("values", "later", "words"),
    [
        (["a", "b"] * 5, ["a", "zebra"], "classes not seen in training: 'zebra'"),
        ([1, 2] * 5, ["a", "b"], "was numeric in training and is text here"),
        ([True, False] * 5, [1, 0], "was boolean in training and is numeric here"),
        ([1.5, 2.5] * 5, ["a", "b"], "was numeric in training and is text here"),
        (["a", "b"] * 5, [[1]], "was text in training and is unusable here"),
    ],
)
def test_later_values_that_do_not_fit(values, later, words):
    target = Target.infer(frame_of(values), "y")
    with pytest.raises(DataError, match=words):
        target.encode(frame_of(later))


def test_text_classes_that_look_like_numbers_in_a_later_file():
    target = Target.infer(frame_of(["1", "x"] * 5), "y")
    assert target.encode(frame_of([1, 1])).tolist() == [0, 0]


def test_outputs_of_another_shape():
    classes, numbers = Target.infer(frame_of(["a", "b"] * 5), "y"), Target.infer(frame_of([1.5, 2.0] * 5), "y")
    with pytest.raises(ShapeError, match=r"outputs \[rows, 2\], got \[3\]"):
        classes.decode(np.zeros(3))
    with pytest.raises(ShapeError, match=r"outputs \[rows, 2\], got \[3, 5\]"):
        classes.decode(np.zeros((3, 5)))
    for shape in ((), (3, 2), (3, 1, 1)):
        with pytest.raises(ShapeError, match=r"\[rows\] or \[rows, 1\]"):
            numbers.decode(np.zeros(shape))
