from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrous.errors import ConfigError, DataError
from atrous.labels import CAMVID, VOID_COLOUR, Labels
from atrous.overlay import class_legend, colourise, error_map, overlay, side_by_side
from atrous.scenes import SCENE_LABELS, draw_scene

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared"
MANY = Labels(names=tuple(f"class number {index} of a long list" for index in range(150)))


@pytest.fixture(scope="module")
def scene():
    return draw_scene(seed=1, size=(96, 128))


def test_colourise_gives_every_class_its_colour(scene):
    mask = scene[1]
    picture = colourise(mask, SCENE_LABELS)
    for index, colour in enumerate(SCENE_LABELS.palette):
        assert (picture[mask == index] == colour).all()
    assert (picture[mask == 255] == VOID_COLOUR).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int64])
def test_colourise_does_not_depend_on_the_type_of_the_map(scene, dtype):
    np.testing.assert_array_equal(
        colourise(scene[1].astype(dtype), SCENE_LABELS), colourise(scene[1], SCENE_LABELS), strict=True
    )


def test_colourise_above_256_classes():
    labels = Labels(names=tuple(str(index) for index in range(300)), palette=((9, 8, 7),) * 300, ignore_index=65535)
    assert colourise(np.array([[299, 65535]], np.uint16), labels).tolist() == [[[9, 8, 7], list(VOID_COLOUR)]]


def test_the_image_part_keeps_its_size_and_blends_by_opacity(scene):
    image, mask = scene
    plain = overlay(image, mask, SCENE_LABELS, opacity=0, outlines=False)
    assert plain.shape[1:] == image.shape[1:]
    assert plain.shape[0] > 96
    inside = mask != 255
    assert (plain[:96][inside] == image[inside]).all()
    full = overlay(image, mask, SCENE_LABELS, opacity=1, outlines=False, legend=False)
    assert full.shape == image.shape
    assert (full[inside] == colourise(mask, SCENE_LABELS)[inside]).all()
    half = overlay(image, mask, SCENE_LABELS, outlines=False, legend=False)
    mean = (image[inside].astype(int) + colourise(mask, SCENE_LABELS)[inside]) / 2
    assert np.abs(half[inside] - mean).max() <= 0.5


def test_outlines_are_the_full_colour_on_both_sides_of_a_border():
    label_map = np.zeros((20, 20), np.uint8)
    label_map[:, 10:] = 1
    labels = Labels(names=("a", "b"), palette=((200, 0, 0), (0, 200, 0)))
    picture = overlay(np.zeros((20, 20, 3), np.uint8), label_map, labels, legend=False)
    assert (picture[:, 9] == (200, 0, 0)).all()
    assert (picture[:, 10] == (0, 200, 0)).all()
    assert (picture[:, 8] == (100, 0, 0)).all()


def test_void_is_hatched_over_the_image_as_it_is():
    image = np.full((60, 60, 3), 120, np.uint8)
    picture = overlay(image, np.full((60, 60), 255, np.uint8), SCENE_LABELS, legend=False)
    same = (picture == 120).all(axis=2).mean()
    assert 0.6 < same < 0.95
    assert {int(value) for value in np.unique(picture)} == {30, 120, 235}


def test_a_grey_image_is_taken_as_it_is(scene):
    image, mask = scene
    grey = image[..., 1]
    expected = overlay(np.repeat(grey[..., None], 3, axis=2), mask, SCENE_LABELS)
    np.testing.assert_array_equal(overlay(grey, mask, SCENE_LABELS), expected)


def test_inputs_are_not_changed(scene):
    image, mask = scene[0].copy(), scene[1].copy()
    overlay(image, mask, SCENE_LABELS)
    error_map(mask, mask, SCENE_LABELS, image=image)
    side_by_side([image], ["one"])
    assert (image == scene[0]).all()
    assert (mask == scene[1]).all()


def test_the_legend_shows_present_classes_only():
    label_map = np.zeros((100, 200), np.uint8)
    label_map[:30] = 3
    labels = Labels(names=("a", "b", "c", "d"), palette=((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 0, 250)))
    legend = overlay(np.zeros((100, 200, 3), np.uint8), label_map, labels)[100:]
    shown = {tuple(colour) for colour in legend.reshape(-1, 3).tolist()}
    assert {(250, 0, 0), (250, 0, 250)} <= shown
    assert not {(0, 250, 0), (0, 0, 250)} & shown
    large = np.argwhere((legend == (250, 0, 0)).all(axis=2))[0]
    small = np.argwhere((legend == (250, 0, 250)).all(axis=2))[0]
    assert tuple(large) < tuple(small), "the largest class comes first"


def test_the_legend_of_all_classes_is_as_wide_as_the_picture_and_names_each():
    labels = Labels(names=("a", "b", "c"), palette=((250, 0, 0), (0, 250, 0), (0, 0, 250)))
    legend = class_legend((100, 200), labels)
    assert legend.shape[1:] == (200, 3)
    shown = {tuple(colour) for colour in legend.reshape(-1, 3).tolist()}
    assert set(labels.palette) <= shown
    many = class_legend((100, 200), Labels.numbered(150))
    assert len(many) < 400


def test_the_legend_grows_with_the_image_and_stays_in_proportion():
    label_map = np.arange(64 * 64).reshape(64, 64).astype(np.uint8) % 8
    heights = []
    for factor in (1, 8, 40):
        big = label_map.repeat(factor, axis=0).repeat(factor, axis=1)
        picture = overlay(np.zeros((*big.shape, 3), np.uint8), big, SCENE_LABELS, outlines=False)
        heights.append(picture.shape[0] - big.shape[0])
    assert heights[0] <= 2 * 64  # one column: a line for each class
    assert heights[1] < heights[2] < 0.5 * 64 * 40


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (3, 5), (64, 64), (40, 700), (700, 40)])
def test_any_shape_with_many_classes_gets_a_legend_that_fits(shape):
    label_map = (np.arange(shape[0] * shape[1]) * 7 % 150).reshape(shape).astype(np.uint8)
    picture = overlay(np.zeros((*shape, 3), np.uint8), label_map, MANY)
    assert picture.shape[1:] == (shape[1], 3)
    assert picture.shape[0] <= 2 * shape[0] + 140


def test_odd_names_are_drawn():
    labels = Labels(names=("two\nlines", "", "\udcff", "straße 道路"))
    overlay(np.zeros((50, 80, 3), np.uint8), np.arange(4000).reshape(50, 80).astype(np.uint8) % 4, labels)


def test_error_map_tells_right_wrong_and_void_apart():
    mask = np.array([[0, 0, 255, 1]], np.uint8)
    predicted = np.array([[0, 1, 1, 1]], np.uint8)
    picture = error_map(predicted, mask, SCENE_LABELS)[0]
    assert picture[1].tolist() == list(SCENE_LABELS.palette[1])
    assert picture[0].tolist() == picture[3].tolist() == [36, 36, 36]
    assert len(set(picture[2].tolist())) == 1
    assert picture[2, 0] > 100


def test_error_map_of_a_perfect_prediction_is_the_dimmed_image(scene):
    image, mask = scene
    mask = np.where(mask == 255, 0, mask)
    picture = error_map(mask, mask, SCENE_LABELS, image=image)
    assert (picture[..., 0] == picture[..., 1]).all()
    assert picture.max() <= 97
    assert np.ptp(picture) > 20


def test_side_by_side_keeps_every_picture():
    pictures = [np.full((10 * size, 20 * size, 3), 30 * size, np.uint8) for size in (1, 2, 3)]
    sheet = side_by_side(pictures, ["one", "two", "three"], columns=2)
    for picture in pictures:
        assert (sheet == picture[0, 0]).all(axis=2).sum() == picture.shape[0] * picture.shape[1]
    assert side_by_side([pictures[0]]).shape == (10, 20, 3)


def test_side_by_side_writes_titles():
    blank = np.full((40, 90, 3), 250, np.uint8)
    assert (side_by_side([blank], ["title"]) < 100).any()
    assert not (side_by_side([blank], [""]) < 100).any()


@pytest.mark.parametrize(("count", "titles", "columns"), [(0, [], None), (2, ["one"], None), (1, [], 0)])
def test_side_by_side_refuses_what_does_not_fit(count, titles, columns):
    with pytest.raises(ConfigError, match="expected at least one picture"):
        side_by_side([np.zeros((4, 4, 3), np.uint8)] * count, titles, columns=columns)


def test_what_does_not_fit_is_refused(scene):
    image, mask = scene
    with pytest.raises(ConfigError, match=r"opacity is 1\.5, expected 0"):
        overlay(image, mask, SCENE_LABELS, opacity=1.5)
    with pytest.raises(DataError, match="the image is 95 x 128, the label map 96 x 128"):
        overlay(image[1:], mask, SCENE_LABELS)
    with pytest.raises(DataError, match="of float64, expected"):
        overlay(image / 255, mask, SCENE_LABELS)
    with pytest.raises(DataError, match="the prediction is 95 x 128, the mask 96 x 128"):
        error_map(mask[1:], mask, SCENE_LABELS)
    with pytest.raises(DataError, match="holds 8 at"):
        colourise(np.full((2, 2), 8, np.uint8), SCENE_LABELS)


@pytest.mark.shared
def test_a_camvid_frame():
    masks = sorted((SHARED / "data" / "camvid" / "valannot").glob("*.png"))
    if not masks:
        pytest.skip("shared/data/camvid is not here")
    with Image.open(masks[0]) as file:
        mask = np.asarray(file).copy()
    mask[mask == 11] = CAMVID.ignore_index
    with Image.open(masks[0].parents[1] / "val" / masks[0].name) as file:
        image = np.asarray(file.convert("RGB"))
    picture = overlay(image, mask, CAMVID)
    assert picture.shape[1] == image.shape[1]
    assert image.shape[0] < picture.shape[0] < 1.5 * image.shape[0]
