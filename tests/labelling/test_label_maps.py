"""Labels from cells equal upsampling first; with and without the compiled kernel they are the same bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_logits import LAYOUTS, assert_best, cases, random_logits

from atrous.labelling import blocks, cells, label_map, plain

once_set_up = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@once_set_up
@given(**cases())
def test_numpy_gives_the_best_class(without_kernel, seed, classes, coarse_size, size, kind, layout, align_corners):
    coarse = random_logits(seed, classes, coarse_size, kind=kind, layout=layout)
    labels = label_map(coarse, size, align_corners=align_corners)
    assert_best(labels, coarse, size, align_corners=align_corners)


@once_set_up
@given(**cases())
def test_the_kernel_gives_the_best_class(with_kernel, seed, classes, coarse_size, size, kind, layout, align_corners):
    coarse = random_logits(seed, classes, coarse_size, kind=kind, layout=layout)
    labels = label_map(coarse, size, align_corners=align_corners)
    assert_best(labels, coarse, size, align_corners=align_corners)


@once_set_up
@given(**cases(longest=90))
def test_both_ways_agree_in_every_pixel(with_kernel, seed, classes, coarse_size, size, kind, layout, align_corners):
    coarse = random_logits(seed, classes, coarse_size, kind=kind, layout=layout)
    compiled = label_map(coarse, size, align_corners=align_corners)
    numpy_alone = cells._Kernel()
    numpy_alone.missing = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "_kernel", numpy_alone)
        np.testing.assert_array_equal(label_map(coarse, size, align_corners=align_corners), compiled)


@pytest.mark.parametrize("way", ["without_kernel", "with_kernel"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("classes", "coarse_size", "size"),
    [(2, (33, 33), (129, 65)), (300, (9, 12), (70, 50)), (1000, (7, 7), (40, 41)), (21, (65, 65), (513, 513))],
)
def test_sizes_of_networks(request, way, layout, classes, coarse_size, size):
    request.getfixturevalue(way)
    for kind in ("smooth", "noise"):
        coarse = random_logits(5, classes, coarse_size, kind=kind, layout=layout)
        assert_best(label_map(coarse, size), coarse, size, align_corners=False)


shares = st.floats(0.05, 1) | st.just(1.0)


@once_set_up
@given(**cases(), cover=st.tuples(shares, shares))
def test_an_image_that_fills_a_part_of_the_map(
    with_kernel, seed, classes, coarse_size, size, kind, layout, align_corners, cover
):
    coarse = random_logits(seed, classes, coarse_size, kind=kind, layout=layout)
    labels = label_map(coarse, size, align_corners=align_corners, cover=cover)
    assert_best(labels, coarse, size, align_corners=align_corners, cover=cover)


@pytest.mark.parametrize("way", ["without_kernel", "with_kernel"])
def test_of_equal_classes_the_first_is_given(request, way):
    request.getfixturevalue(way)
    coarse = random_logits(3, 8, (9, 9), kind="noise")
    doubled = torch.cat([coarse, coarse], dim=1)
    np.testing.assert_array_equal(label_map(doubled, (70, 70)), label_map(coarse, (70, 70)))
    assert (label_map(torch.zeros(1, 300, 5, 5), (20, 20)) == 0).all()


@pytest.mark.parametrize("way", ["without_kernel", "with_kernel"])
def test_a_class_that_wins_at_no_corner_can_win_inside(request, way):
    request.getfixturevalue(way)
    coarse = torch.tensor([[8.0, 0.0], [0.0, 8.0], [7.0, 7.0]]).reshape(1, 3, 1, 2)
    labels = label_map(coarse, (1, 16), align_corners=True)
    assert set(labels[0].tolist()) == {0, 1, 2}
    assert_best(labels, coarse, (1, 16), align_corners=True)


@pytest.mark.parametrize("way", ["without_kernel", "with_kernel"])
def test_a_network_in_half_precision_and_with_gradient(request, way):
    request.getfixturevalue(way)
    coarse = random_logits(1, 5, (9, 9)).requires_grad_()
    half = coarse.half()
    np.testing.assert_array_equal(label_map(half, (40, 40)), label_map(half.detach().float(), (40, 40)))


@pytest.mark.parametrize("cost", [0, 1e9])
@settings(max_examples=60, deadline=None)
@given(**cases())
def test_blocks_and_tiles_agree(cost, seed, classes, coarse_size, size, kind, layout, align_corners):
    """Cells in small blocks, or tiles, whichever the cost decides: both with edges everywhere."""
    coarse = random_logits(seed, classes, coarse_size, kind=kind, layout=layout)
    with pytest.MonkeyPatch.context() as patch:
        kernel = cells._Kernel()
        kernel.missing = True
        patch.setattr(cells, "_kernel", kernel)
        usual = label_map(coarse, size, align_corners=align_corners)
        patch.setattr(blocks, "PIXEL_AND_CLASS", cost)
        patch.setattr(blocks, "CORNER_ELEMENTS", 4 * classes * 5)
        patch.setattr(blocks, "PIXEL_ELEMENTS", 500)
        patch.setattr("atrous.labelling.tiles.TILE_ELEMENTS", 700)
        patch.setattr("atrous.labelling.tiles.TILE_ROWS", 7)
        np.testing.assert_array_equal(label_map(coarse, size, align_corners=align_corners), usual)


def test_the_type_names_every_class():
    assert plain.label_type(256) is np.uint8
    assert plain.label_type(257) is np.uint16


@pytest.mark.parametrize(
    ("coarse", "size", "message"),
    [
        (torch.zeros(3, 4, 4), (8, 8), r"shape \(3, 4, 4\); expected \(1, classes, height, width\)"),
        (torch.zeros(2, 3, 4, 4), (8, 8), r"shape \(2, 3, 4, 4\)"),
        (torch.zeros(1, 0, 4, 4), (8, 8), r"shape \(1, 0, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4), (8, 0), r"size is \(8, 0\); expected a positive height and width"),
        (torch.zeros(1, 1, 1, 1).expand(1, 65536, 1, 1), (8, 8), "65536 classes; expected at most 65535"),
    ],
)
def test_what_is_no_logits_is_refused(coarse, size, message):
    with pytest.raises(ValueError, match=message):
        label_map(coarse, size)


@pytest.mark.parametrize("way", ["without_kernel", "with_kernel"])
def test_a_winner_of_zero_stays_a_candidate(request, way):
    """Its margin for rounding is zero too, so it must not be found below itself."""
    request.getfixturevalue(way)
    coarse = torch.tensor([[-1.0, 1.0], [-0.0, 0.0]]).reshape(1, 2, 1, 2)
    assert_best(label_map(coarse, (5, 9)), coarse, (5, 9), align_corners=False)


def test_a_cover_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match=r"cover is \(1.0, 1.5\); expected the shares"):
        label_map(torch.zeros(1, 3, 4, 4), (8, 8), cover=(1.0, 1.5))
