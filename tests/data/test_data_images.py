import sys

import numpy as np
import pytest

import backlit as bl
from backlit import data
from backlit.core.errors import ArgumentError, DataError, FileFormatError
from backlit.data import transforms as T

Image = pytest.importorskip("PIL.Image", reason="the extra image is not installed")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("cats", 3), ("dogs", 2)):
        (tmp_path / name / "deep").mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / ("deep" if i == 1 else "") / f"{i}.PNG")
    (tmp_path / "cats" / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_of_images(folder):
    images = data.ImageFolder(folder)
    assert images.classes == ["cats", "dogs"] and images.class_to_idx == {"cats": 0, "dogs": 1} and len(images) == 5
    assert images.targets.tolist() == [0, 0, 0, 1, 1]
    x, y = images[4]
    assert x.shape == (3, 6, 8) and x.dtype == np.uint8 and y == 1 and y.dtype == np.int64
    np.testing.assert_array_equal(x, np.moveaxis(np.asarray(Image.open(images.samples[4][0])), -1, 0))
    for workers in (0, 2):
        (batch,) = data.DataLoader(images, 5, sampler=[4, 0, 1, 2, 3], num_workers=workers)
        assert batch[0].shape == (5, 3, 6, 8) and batch[1].tolist() == [1, 0, 0, 0, 1]
        np.testing.assert_array_equal(batch[0][0].numpy(), x)
    grey = data.ImageFolder(folder, size=(4, 5), mode="L")
    assert grey[0][0].shape == (1, 4, 5) and grey[np.array([0, 3])][0].shape == (2, 1, 4, 5)
    assert data.ImageFolder(folder, size=4)[np.zeros(0, int)][0].shape == (0, 3, 4, 4)


def test_images_of_two_sizes_and_damaged_ones(folder):
    Image.fromarray(np.zeros((5, 8, 3), np.uint8)).save(folder / "dogs" / "z.png")
    images = data.ImageFolder(folder)
    with pytest.raises(DataError, match=r"z\.png is 5 x 8, .*0\.PNG is 6 x 8; give a size"):
        images[np.array([0, 5])]
    good = (folder / "dogs" / "z.png").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        bad = bytearray(good)
        if rng.random() < 0.5:
            bad = bad[: rng.integers(40)]
        else:
            bad[rng.integers(8, 33)] ^= 0x55
        (folder / "dogs" / "z.png").write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"z\.png is damaged or no image|more than 8 bits"):
            images[5]
    Image.fromarray(np.zeros((5, 8), np.uint16)).save(folder / "dogs" / "z.png")
    with pytest.raises(FileFormatError, match="more than 8 bits"):
        images[5]


def test_folders_that_are_none(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        data.ImageFolder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no folders"):
        data.ImageFolder(tmp_path)
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError, match="cats has no image"):
        data.ImageFolder(tmp_path)
    with pytest.raises(ArgumentError, match="mode must be"):
        data.ImageFolder(tmp_path, mode="CMYK")
    with pytest.raises(ArgumentError, match="size must be"):
        data.ImageFolder(tmp_path, size=0)


def test_without_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=r"needs Pillow; pip install 'backlit\[image\]'"):
        data.ImageFolder(tmp_path)


def pixels(n=200, channels=2, height=5, width=6):
    return np.arange(n * channels * height * width).reshape(n, channels, height, width) % 251 + 1


def test_a_crop_is_a_part_of_the_image_with_its_padding():
    x = pixels()
    cropped = T.RandomCrop((4, 5), padding=2)(x, bl.Generator(1))
    assert cropped.shape == (200, 2, 4, 5)
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    places = set()
    for i in range(200):
        found = [
            (a, b) for a in range(6) for b in range(6) if np.array_equal(padded[i, :, a : a + 4, b : b + 5], cropped[i])
        ]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == 36  # every place that there is
    assert np.array_equal(T.RandomCrop((5, 6))(x), x)
    mirrored = T.RandomCrop(9, padding=2, padding_mode="reflect")(x, bl.Generator(0))
    assert mirrored.min() > 0


def test_a_flip_is_of_whole_images():
    x = pixels()
    flipped = T.RandomHorizontalFlip(0.25)(x, bl.Generator(1))
    kept = np.array([np.array_equal(a, b) for a, b in zip(x, flipped, strict=True)])
    turned = np.array([np.array_equal(a[..., ::-1], b) for a, b in zip(x, flipped, strict=True)])
    assert (kept ^ turned).all() and 25 < turned.sum() < 75
    assert np.array_equal(T.RandomHorizontalFlip(1.0)(x), x[..., ::-1]) and np.array_equal(
        T.RandomHorizontalFlip(0.0)(x), x
    )


def test_a_hole_is_a_square():
    x = np.ones((300, 2, 7, 9), np.uint8)
    holes = T.Cutout(3, fill=4)(x, bl.Generator(1)) == 4
    assert (holes[:, 0] == holes[:, 1]).all()
    rows, columns = holes[:, 0].any(2).sum(1), holes[:, 0].any(1).sum(1)
    assert (holes[:, 0].sum((1, 2)) == rows * columns).all()
    assert set(rows) == set(columns) == {2, 3}  # 2 where its middle is in the edge


def test_scaling():
    x = pixels(3).astype(np.uint8)
    floats = T.ToFloat()(x)
    np.testing.assert_array_equal(floats, x.astype(np.float32) / np.float32(255))
    assert floats.dtype == np.float32 and T.ToFloat(np.float64)(x).dtype == np.float64
    assert T.ToFloat()(np.array([True])).tolist() == [1.0] and T.ToFloat()(np.ones(2)).dtype == np.float32
    scaled = T.Normalize([0.5, 0.25], [2.0, 4.0])(floats)
    np.testing.assert_allclose(scaled[:, 1], (floats[:, 1] - 0.25) / 4, rtol=1e-6)
    np.testing.assert_allclose(T.Normalize(0.1, 3.0)(np.ones(4)), np.full(4, 0.3))
    assert T.ChannelsFirst()(np.zeros((2, 5, 6, 3))).shape == (2, 3, 5, 6)


def test_in_a_loader_the_stream_is_the_batches():
    x = pixels(64).astype(np.uint8)
    augment = T.Compose(
        [T.RandomCrop((5, 6), padding=1), T.RandomHorizontalFlip(), T.Cutout(2), T.ToFloat(), T.Normalize(0.5, 0.5)]
    )
    found = []
    for workers in (0, 1, 3):
        loader = data.DataLoader(
            data.TensorDataset(x, np.arange(64)), 16, generator=bl.Generator(3), transform=augment, num_workers=workers
        )
        epochs = [[batch[0].numpy() for batch in loader] for _ in range(2)]
        assert not np.array_equal(epochs[0][0], epochs[1][0])
        found.append(np.stack(epochs))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])
    np.testing.assert_array_equal(augment(x, bl.Generator(1)), augment(x, bl.Generator(1)))
    bl.random.seed(5)
    first = augment(bl.tensor(x))
    bl.random.seed(5)
    np.testing.assert_array_equal(first, augment(x))


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: T.RandomCrop(0), ArgumentError, "size must be an integer of at least 1"),
        (lambda: T.RandomCrop(2, padding=-1), ArgumentError, "padding must be an integer of at least 0"),
        (lambda: T.RandomCrop(2.5), ArgumentError, "size must be an integer of at least 1, got 2.5"),
        (lambda: T.RandomCrop((2, 2, 3)), ArgumentError, r"one number or \(height, width\), got \(2, 2, 3\)"),
        (lambda: T.RandomCrop(2, padding_mode="wrap"), ArgumentError, "padding_mode must be"),
        (
            lambda: T.RandomCrop(9)(pixels()),
            DataError,
            r"images of \[5, 6\] with their padding hold no part of \[9, 9\]",
        ),
        (
            lambda: T.RandomCrop(2)(np.ones((28, 28))),
            DataError,
            r"expected images \[batch, channels, height, width\], got \[28, 28\]",
        ),
        (lambda: T.RandomHorizontalFlip(1.5), ArgumentError, "between 0 and 1"),
        (lambda: T.Cutout(0), ArgumentError, "at least 1"),
        (lambda: T.ToFloat()(np.ones(3, np.int64)), DataError, "expected bytes"),
        (lambda: T.Normalize(0.0, 0.0), ArgumentError, "other than 0"),
        (lambda: T.Normalize(0.0, 1.0)(pixels()), DataError, "put ToFloat before it"),
        (lambda: T.Normalize([0.0] * 3, [1.0] * 3)(pixels() * 1.0), DataError, "but 2 channels"),
    ],
)
def test_transforms_that_are_refused(use, error, message):
    with pytest.raises(error, match=message):
        use()
