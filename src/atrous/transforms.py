"""Augmentation of an image and its mask together.

A `View` is drawn first: one geometric map, and what happens to the colours. It is then applied to image and mask in one
call, so the two cannot be parted. Image pixels are interpolated (with antialiasing when they shrink), mask pixels are
nearest neighbours, and what lies outside the image is the mean colour in the image and void in the mask.

Images that are not RGB have any number of bands of uint8, uint16 or float32. What is done to colours is for RGB alone;
of the others whole images become brighter or darker, with more or less contrast.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.preprocessing import Preprocessing

__all__ = [
    "Augmentation",
    "View",
    "apply_view",
    "draw_view",
    "finish_view",
    "paste_class",
    "plain_view",
    "warp_view",
]

Matrix = NDArray[np.float64]
Point = tuple[float, float]
Pixels = NDArray[np.uint8 | np.uint16 | np.float32]
MOST_CHANNELS = 4  # that OpenCV takes where it averages pixels, and whose outside it fills with a colour each
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
BLUR_SIGMA = (0.3, 1.5)  # pixels of the crop: from hardly seen to a camera out of focus
JPEG_QUALITY = (30, 90)  # from heavy blocks to what cameras write


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How views of an image are drawn. Sizes are (height, width) in pixels, angles in degrees.

    `scale` is the range of the random scale (log-uniform); 0.5-2.0 in the DeepLab papers. `flip` is the share of
    mirrored views. `rotation` is the largest angle either way. `brightness`, `contrast` and `saturation` are the largest
    relative changes either way; `tint` that of each channel's gain. `blur` and `jpeg` are the shares of views that are
    blurred, and that get the noise of JPEG compression. `saturation`, `tint` and `jpeg` are for RGB alone.
    """

    crop_size: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    rotation: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    tint: float = 0.0
    blur: float = 0.0
    jpeg: float = 0.0


@dataclass(frozen=True, kw_only=True)
class View:
    """One drawn view. `matrix` (2, 3) maps source to crop coordinates (x, y), pixel centres at half-integers.

    `scale` is the size change of the map. `gain` (3,) and `offset` act on each channel's value in 0-1 after `saturation`
    (1 leaves colours, 0 is grey); the first gain acts on all bands of an image that is not RGB. `blur` is a Gaussian's
    deviation in pixels of the crop, 0 for none; `jpeg` a quality, 0 for no compression.
    """

    size: tuple[int, int]
    matrix: Matrix
    scale: float
    saturation: float
    gain: NDArray[np.float64]
    offset: float
    blur: float = 0.0
    jpeg: int = 0


def draw_view(
    augmentation: Augmentation, image_size: tuple[int, int], rng: np.random.Generator, *, focus: Point | None = None
) -> View:
    """Draw a view of an image of `image_size` (height, width).

    The crop lies inside the scaled image where it fits, and holds all of it where it does not. With a `focus` (y, x), in
    pixels of the image, it also holds that point, unless a rotation turns it out.
    """
    height, width = image_size
    crop_height, crop_width = augmentation.crop_size
    scale = math.exp(rng.uniform(math.log(augmentation.scale[0]), math.log(augmentation.scale[1])))
    angle = math.radians(rng.uniform(-1, 1) * augmentation.rotation)
    mirror = -1.0 if rng.random() < augmentation.flip else 1.0
    top, left = (
        rng.uniform(*_range(size * scale, crop, None if focus is None else focus[axis] * scale))
        for axis, (size, crop) in enumerate(((height, crop_height), (width, crop_width)))
    )
    # Source centre of the crop -> origin, then mirror, turn, scale, and put it into the crop's centre.
    centre_x, centre_y = (left + crop_width / 2) / scale, (top + crop_height / 2) / scale
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    shift = np.array([crop_width / 2, crop_height / 2]) - turn @ np.array([centre_x, centre_y])
    contrast = 1 + augmentation.contrast * rng.uniform(-1, 1)
    brightness = 1 + augmentation.brightness * rng.uniform(-1, 1)
    gain = brightness * contrast * (1 + augmentation.tint * rng.uniform(-1, 1, 3))
    saturation = 1 + augmentation.saturation * rng.uniform(-1, 1)
    return View(
        size=(crop_height, crop_width),
        matrix=np.column_stack([turn, shift]),
        scale=scale,
        saturation=saturation,
        gain=gain,
        offset=0.5 * brightness * (1 - contrast),
        blur=rng.uniform(*BLUR_SIGMA) if augmentation.blur and rng.random() < augmentation.blur else 0.0,
        jpeg=int(rng.integers(*JPEG_QUALITY)) if augmentation.jpeg and rng.random() < augmentation.jpeg else 0,
    )


def _range(size: float, crop: int, point: float | None) -> tuple[float, float]:
    """Where a crop of `crop` pixels may begin on a side of `size` pixels, if it must hold `point`."""
    low, high = min(0.0, size - crop), max(0.0, size - crop)
    if point is None:
        return low, high
    return min(max(low, point - crop), high), max(min(high, point), low)


def plain_view(size: tuple[int, int]) -> View:
    """The view that changes nothing, of an image of `size` (height, width)."""
    return View(
        size=size,
        matrix=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        scale=1.0,
        saturation=1.0,
        gain=np.ones(3),
        offset=0.0,
    )


def apply_view(
    view: View,
    image: Pixels,
    mask: NDArray[np.integer],
    *,
    preprocessing: Preprocessing,
    ignore_index: int,
) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
    """Apply one view to both.

    Args:
        view: from `draw_view` for an image of this size.
        image: (H, W, bands), cleaned by `Preprocessing.cleaned`.
        mask: (H, W) integer, same size.
        preprocessing: how images were read, and mean and deviation of the normalisation, which the colour change is
            merged with.
        ignore_index: what the mask holds outside the image.

    Returns:
        The normalised image (height, width, bands) float32 (channels last, as the networks read it fastest), and the mask
        (height, width) of the mask's own type.

    Raises:
        ValueError: image and mask differ in size.
    """
    warped, label_map = warp_view(view, image, mask, preprocessing=preprocessing, ignore_index=ignore_index)
    return finish_view(view, warped, preprocessing=preprocessing), label_map


def warp_view(
    view: View,
    image: Pixels,
    mask: NDArray[np.integer],
    *,
    preprocessing: Preprocessing,
    ignore_index: int,
) -> tuple[Pixels, NDArray[np.integer]]:
    """The geometric part of `apply_view`: image (height, width, bands), and mask (height, width), of their own types."""
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image is {image.shape[:2]} and mask {mask.shape}; they must be of one size")
    fill = preprocessing.neutral_colour()
    if image.dtype != np.float32:
        fill = np.rint(fill)
    cut, matrix = _prepare(image, view)
    warped = _in_fours(
        cut,
        lambda part, first: _warp(
            part, matrix, view.size, cv2.INTER_LINEAR, tuple(fill[first : first + MOST_CHANNELS].tolist())
        ),
    )
    return warped, _warp(mask, view.matrix, view.size, cv2.INTER_NEAREST, float(ignore_index))


def paste_class(
    image: Pixels,
    mask: NDArray[np.integer],
    donor: Pixels,
    donor_mask: NDArray[np.integer],
    index: int,
) -> None:
    """Copy the pixels of class `index` of one warped pair over another of the same size, in image and mask, in place.

    Copy-paste (Ghiasi et al. 2021, arXiv 2012.07177): hard edges, where the donor's view has them.
    """
    chosen = donor_mask == index
    image[chosen] = donor[chosen]
    mask[chosen] = index


def finish_view(view: View, warped: Pixels, *, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """The rest of `apply_view`: blur, JPEG noise, colour and normalisation of a warped image (height, width, bands)."""
    if view.blur:
        blurred = cv2.GaussianBlur(warped, (0, 0), view.blur)
        warped = np.asarray(blurred, warped.dtype).reshape(warped.shape)
    if preprocessing.pixels != "rgb":
        return _light(warped, view, preprocessing)
    if view.jpeg:
        coded = cv2.imencode(".jpg", warped, [cv2.IMWRITE_JPEG_QUALITY, view.jpeg])[1]
        warped = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return _colour(warped, view, preprocessing)


def _in_fours(image: Pixels, change: Callable[[Pixels, int], NDArray]) -> Pixels:
    """What `change` makes of an image, given at most four bands at a time and the number of the first of them.

    Two bands go one by one: of two OpenCV rounds places to 1/32 pixel, of one, three and four it does not.
    """
    rest = image.shape[2] % MOST_CHANNELS
    widths = [MOST_CHANNELS] * (image.shape[2] // MOST_CHANNELS) + ([1, 1] if rest == 2 else [rest] * (rest > 0))
    if len(widths) == 1 and widths[0] > 1:
        return np.asarray(change(image, 0), image.dtype)
    parts: list[NDArray] = []
    first = 0
    for width in widths:
        part = change(np.ascontiguousarray(image[..., first : first + width]), first)
        parts.append(part if part.ndim == 3 else part[..., None])  # OpenCV drops the axis of a single band
        first += width
    return np.concatenate(parts, axis=2)


def _prepare(image: Pixels, view: View) -> tuple[Pixels, Matrix]:
    """Cut out what the crop sees and, when the view shrinks it, average pixels first: the antialiasing of the warp."""
    if view.scale >= 1:
        return image, view.matrix
    height, width = image.shape[:2]
    crop_height, crop_width = view.size
    inverse = cv2.invertAffineTransform(view.matrix)
    corners = np.array([[0, 0, 1], [crop_width, 0, 1], [0, crop_height, 1], [crop_width, crop_height, 1]], np.float64)
    seen = corners @ inverse.T
    margin = 2 / view.scale
    left, top = (max(0, math.floor(low - margin)) for low in seen.min(axis=0))
    right, bottom = (
        min(limit, math.ceil(high + margin)) for limit, high in zip((width, height), seen.max(axis=0), strict=True)
    )
    cut = image[top:bottom, left:right]
    small_width, small_height = (max(1, round(length * view.scale)) for length in (right - left, bottom - top))
    small = _in_fours(
        cut, lambda part, _: np.asarray(cv2.resize(part, (small_width, small_height), interpolation=cv2.INTER_AREA))
    )
    matrix = view.matrix.copy()
    matrix[:, 2] += view.matrix[:, :2] @ np.array([left, top])
    matrix[:, 0] *= (right - left) / small_width
    matrix[:, 1] *= (bottom - top) / small_height
    return small, matrix


def _warp(
    picture: NDArray,
    matrix: Matrix,
    size: tuple[int, int],
    interpolation: int,
    fill: float | tuple[float, ...],
) -> NDArray:
    """cv2's warp, whose pixel centres are integers, with a matrix whose pixel centres are half-integers."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5
    return cv2.warpAffine(  # pyright: ignore[reportReturnType]
        picture,
        shifted,
        size[::-1],
        flags=interpolation,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,  # pyright: ignore[reportArgumentType]
    )


def _colour(image: Pixels, view: View, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Saturation by a channel matrix; gain, offset, clipping and normalisation by one table per channel."""
    if view.saturation != 1:
        grey = np.tile(np.array(LUMA), (3, 1))
        image = cv2.transform(image, view.saturation * np.eye(3) + (1 - view.saturation) * grey)  # type: ignore
    values = np.arange(256)[:, None] / 255 * view.gain + view.offset
    table = preprocessing.standardise(np.clip(values, 0, 1)).astype(np.float32)
    return cv2.LUT(image, table.reshape(256, 1, 3))  # pyright: ignore[reportReturnType, reportArgumentType, reportCallIssue]


def _light(image: Pixels, view: View, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Gain and offset of each band's value as a fraction of its range, then normalisation."""
    gain, offset = float(view.gain[0]), view.offset
    if gain == 1 and offset == 0:
        return preprocessing.normalise(image)
    low, high = preprocessing.ranges
    return preprocessing.normalise(image * np.float64(gain) + (low * (1 - gain) + offset * (high - low)))
