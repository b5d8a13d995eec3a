import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atrous.errors import ImageError
from atrous.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


def test_imagenet_values_are_the_published_ones() -> None:
    image = np.array([[[0, 255, 128]]], np.uint8)
    expected = [(0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    np.testing.assert_allclose(Preprocessing().normalise(image)[0, 0], expected, rtol=1e-6)


@given(st.data())
def test_the_table_gives_the_formulas_values_exactly(data: st.DataObject) -> None:
    bands = data.draw(st.integers(1, 9))
    image = data.draw(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(bands))))
    parts = st.tuples(*[st.floats(-2, 2)] * bands)
    deviations = st.tuples(*[st.floats(0.01, 3)] * bands)
    low = data.draw(st.floats(-100, 100))
    preprocessing = Preprocessing(
        bands=bands,
        value_range=(low, low + data.draw(st.floats(1, 1000))),
        mean=data.draw(parts),
        std=data.draw(deviations),
    )
    fast = preprocessing.normalise(image)
    assert fast.dtype == np.float32
    assert fast.shape == image.shape
    np.testing.assert_array_equal(fast, preprocessing._by_formula(image))


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_views_and_odd_strides(bands: int) -> None:
    """Cropped, flipped and bands-first images are not contiguous."""
    values = np.random.default_rng(0).integers(0, 256, (bands, 20, 30), np.uint8)
    image = values.transpose(1, 2, 0)[3:17, ::-1]
    preprocessing = Preprocessing(bands=bands, mean=(0.5,) * bands, std=(0.25,) * bands)
    np.testing.assert_array_equal(preprocessing.normalise(image), preprocessing._by_formula(image))


def test_other_types_go_by_the_formula() -> None:
    image = np.array([[[0], [65535]]], np.uint16)
    preprocessing = Preprocessing(bands=1, value_range=(0, 65535), mean=(0.5,), std=(0.5,))
    np.testing.assert_array_equal(preprocessing.normalise(image), [[[-1], [1]]])


def test_neutral_colour_becomes_zero() -> None:
    colour = Preprocessing().neutral_colour()
    np.testing.assert_allclose(colour, np.array(IMAGENET_MEAN) * 255)
    np.testing.assert_allclose(Preprocessing().normalise(colour[None, None]), 0, atol=1e-7)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 4)])
def test_another_number_of_bands_is_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"3 bands.*Expected \(height, width, 3\)"):
        Preprocessing().normalise(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "settings",
    [
        {"bands": 4},
        {"bands": 0, "mean": (), "std": ()},
        {"std": (1.0, 1.0)},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (0.1, float("nan"), 0.1)},
        {"value_range": (1.0, 1.0)},
        {"value_range": (0.0, float("inf"))},
        {"resize": "520"},
    ],
)
def test_contradictions_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Preprocessing(**settings)


def test_agrees_with_the_usual_computation() -> None:
    image = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
    expected = (image.astype(np.float32) / 255 - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    np.testing.assert_allclose(Preprocessing().normalise(image), expected, atol=1e-5)


LONGEST = {"resize": "longest side", "resize_to": 100}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (75, 100)),
        ((640, 480), (100, 75)),
        ((50, 20), (100, 40)),
        ((1, 900), (1, 100)),
        ((7, 7), (100, 100)),
    ],
)
def test_the_longest_side_becomes_what_the_rule_says(size: tuple[int, int], expected: tuple[int, int]) -> None:
    preprocessing = Preprocessing(**LONGEST)
    assert preprocessing.size_for(size) == expected
    assert preprocessing.prepare(np.zeros((*size, 3), np.uint8)).shape == (*expected, 3)


def test_without_a_rule_nothing_is_resized() -> None:
    image = np.random.default_rng(2).integers(0, 256, (9, 7, 3), np.uint8)
    assert Preprocessing().resized(image) is image
    np.testing.assert_array_equal(Preprocessing().prepare(image), Preprocessing().normalise(image))


def test_resizing_means_over_all_pixels() -> None:
    """Stripes of one pixel become grey; a resize without antialiasing would keep or lose them."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, ::2] = 200
    smaller = Preprocessing(**LONGEST).resized(image)
    assert smaller.dtype == np.uint8
    assert np.abs(smaller[5:-5, 5:-5].astype(int) - 100).max() <= 2


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_resizing_keeps_the_type(dtype: type) -> None:
    image = np.full((50, 200, 2), 40_000, dtype)
    preprocessing = Preprocessing(bands=2, value_range=(0, 65535), mean=(0.5,) * 2, std=(0.5,) * 2, **LONGEST)
    resized = preprocessing.resized(image)
    assert resized.dtype == dtype
    np.testing.assert_allclose(resized, 40_000)
    assert resized.shape == (25, 100, 2)


@pytest.mark.parametrize(
    ("factor", "size", "expected"),
    [(1.44, (360, 480), (518, 691)), (2.0, (1, 3), (2, 6)), (0.5, (100, 60), (50, 30)), (0.1, (3, 3), (1, 1))],
)
def test_a_factor_scales_both_sides(factor: float, size: tuple[int, int], expected: tuple[int, int]) -> None:
    preprocessing = Preprocessing(resize="scale", resize_scale=factor)
    assert preprocessing.size_for(size) == expected
    assert preprocessing.prepare(np.zeros((*size, 3), np.uint8)).shape == (*expected, 3)


def test_inputs_are_filled_up_to_whole_strides_with_the_neutral_colour() -> None:
    preprocessing = Preprocessing(pad_to=16, resize="scale", resize_scale=1.5)
    image = np.random.default_rng(3).integers(0, 256, (50, 33, 3), np.uint8)
    content, whole = preprocessing.size_for((50, 33)), preprocessing.input_size((50, 33))
    assert (content, whole) == ((75, 50), (80, 64))
    assert preprocessing.cover((50, 33)) == (75 / 80, 50 / 64)
    prepared = preprocessing.prepare(image)
    assert prepared.shape == (80, 64, 3)
    np.testing.assert_array_equal(prepared[:75, :50], preprocessing.normalise(preprocessing.resized(image)))
    assert not prepared[75:].any()
    assert not prepared[:, 50:].any()
    assert Preprocessing(pad_to=16).prepare(image[:48, :32]).shape == (48, 32, 3)
    with pytest.raises(ValueError, match="pad_to"):
        Preprocessing(pad_to=0)


@pytest.mark.parametrize(("rule", "factor"), [("none", 2.0), ("scale", None), ("scale", 0.01), ("scale", 11.0)])
def test_a_rule_and_its_factor_belong_together(rule: str, factor: float | None) -> None:
    with pytest.raises(ValueError, match="resize rule"):
        Preprocessing(resize=rule, resize_scale=factor)


@pytest.mark.parametrize(("rule", "pixels"), [("none", 5), ("longest side", None), ("longest side", 0)])
def test_a_rule_and_its_pixels_belong_together(rule: str, pixels: int | None) -> None:
    with pytest.raises(ValueError, match="resize rule"):
        Preprocessing(resize=rule, resize_to=pixels)
