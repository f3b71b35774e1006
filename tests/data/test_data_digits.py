import hashlib
from importlib.resources import files

import numpy as np

from backlit.data import load_digits


def test_the_digits_are_all_there():
    images, labels = load_digits()
    assert images.shape == (1797, 64)
    assert images.dtype == np.float32
    assert labels.shape == (1797,)
    assert labels.dtype == np.int64
    assert images.min() == 0.0
    assert images.max() == 1.0
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_first_digit_is_a_zero_of_these_pixels():
    images, labels = load_digits()
    assert labels[0] == 0
    first_rows = [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    np.testing.assert_array_equal(images[0].reshape(8, 8)[:2] * 16, first_rows)


def test_the_file_is_the_one_its_description_names():
    folder = files("backlit.data") / "_files"
    digest = hashlib.sha256((folder / "digits.csv.gz").read_bytes()).hexdigest()
    text = (folder / "DIGITS.md").read_text()
    assert digest in text
    assert "CC BY 4.0" in text
    assert "Alpaydin" in text


def test_each_call_gives_arrays_of_its_own():
    images, _ = load_digits()
    images[:] = 7
    assert load_digits()[0].max() == 1.0
