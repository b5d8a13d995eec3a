"""The images that the page shows: which ones, and their pictures as data URIs."""

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.data.loader import read_pair
from atrous.data.samples import Dataset
from atrous.errors import DataError
from atrous.evaluation import ImageScore
from atrous.labels import Labels
from atrous.overlay import colourise, error_map
from atrous.prediction import Model
from atrous.report.numerals import percent

__all__ = ["Group", "Pictures", "Shot", "choose_images", "show_groups"]

LARGEST_SIZE = (960, 640)  # (height, width) of a picture on the page
PICTURE_BYTES = 7_000_000  # of all pictures together, as base64, so that the page stays under 10 MB
JPEG_QUALITY = 85
SHRINKING = 0.7  # the next try, where pictures are too large for their part of it
SMALLEST_SIDE = 32
NAMED_CLASSES = 3

Groups = list[tuple[str, list[ImageScore]]]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Four pictures of one size as data URIs, and what the label maps hold, in words."""

    photo: str
    prediction: str
    truth: str
    errors: str
    height: int
    width: int
    predicted_words: str
    true_words: str
    classes: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One image of the gallery; `problem` says why it has no pictures."""

    name: str
    score: ImageScore
    pictures: Pictures | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images that belong together, with their heading."""

    heading: str
    shots: tuple[Shot, ...]


def choose_images(images: Sequence[ImageScore], *, most: int) -> Groups:
    """Choose the images with the lowest, the middle and the highest mIoU, a third each; of a small set, all.

    Images without a labelled pixel have no mIoU; they are shown only where all images fit, or where no image has one.
    """
    if most < 0:
        raise ValueError(f"a gallery of {most} images; expected 0 or more")
    ranked = sorted((image for image in images if image.miou is not None), key=lambda image: image.miou or 0.0)
    unmeasured = [image for image in images if image.miou is None]
    if not most or not images:
        return []
    if len(images) <= most or not ranked:
        shown = [*ranked, *unmeasured][:most]
        return [("Every image, lowest mIoU first" if len(images) <= most else "Images without a labelled pixel", shown)]
    if len(ranked) <= most:
        return [("Every image with a labelled pixel, lowest mIoU first", ranked)]
    third = most // 3
    worst = ranked[: most - 2 * third]
    best = ranked[len(ranked) - third :][::-1]
    between = ranked[len(worst) : len(ranked) - third]
    start = min(max(0, (len(ranked) - third) // 2 - len(worst)), len(between) - third)
    groups = [("Lowest mIoU", worst), ("In the middle", between[start : start + third]), ("Highest mIoU", best)]
    return [(heading, chosen) for heading, chosen in groups if chosen]


def show_groups(groups: Groups, model: Model, dataset: Dataset) -> tuple[Group, ...]:
    """Predict the chosen images and draw their pictures; a file that cannot be read any more is told in its place."""
    allowed = PICTURE_BYTES // max(1, sum(len(chosen) for _, chosen in groups))
    return tuple(
        Group(heading=heading, shots=tuple(_shot(score, model, dataset, allowed) for score in chosen))
        for heading, chosen in groups
    )


def _shot(score: ImageScore, model: Model, dataset: Dataset, allowed: int) -> Shot:
    try:
        image, mask = read_pair(score.sample, dataset, model.preprocessing)
    except DataError as error:  # hours of training must not end without a page because a file has moved
        return Shot(name=score.sample.name, score=score, pictures=None, problem=str(error))
    labels = dataclasses.replace(model.labels, ignore_index=dataset.labels.ignore_index)
    photo = model.preprocessing.as_picture(image)
    pictures = _draw(photo, model.predict(image).label_map, mask, labels, allowed)
    return Shot(name=score.sample.name, score=score, pictures=pictures)


def _draw(
    image: NDArray[np.uint8],
    label_map: NDArray[np.integer],
    mask: NDArray[np.integer],
    labels: Labels,
    allowed: int,
) -> Pictures:
    """Draw image (H, W, 3), prediction and truth (H, W) in at most `allowed` bytes."""
    photo = Image.fromarray(image)
    scale = min(1.0, LARGEST_SIZE[0] / photo.height, LARGEST_SIZE[1] / photo.width)
    while True:
        size = (max(1, round(photo.height * scale)), max(1, round(photo.width * scale)))
        uris = _encode(photo, _sample(label_map, size), _sample(mask, size), labels)
        if sum(map(len, uris)) <= allowed or max(size) <= SMALLEST_SIDE:
            break
        scale *= SHRINKING
    return Pictures(
        photo=uris[0],
        prediction=uris[1],
        truth=uris[2],
        errors=uris[3],
        height=size[0],
        width=size[1],
        predicted_words=_in_words(label_map, labels),
        true_words=_in_words(mask, labels),
        classes=frozenset(int(value) for part in (label_map, mask) for value in np.unique(part)),
    )


def _encode(
    photo: Image.Image, label_map: NDArray[np.integer], mask: NDArray[np.integer], labels: Labels
) -> tuple[str, str, str, str]:
    """Photo, prediction, truth and errors in the size of the label maps (h, w)."""
    small = photo.resize(mask.shape[::-1], Image.Resampling.LANCZOS)  # Pillow has the width first
    layers = (colourise(label_map, labels), colourise(mask, labels), error_map(label_map, mask, labels))
    prediction, truth, errors = (_lossless(Image.fromarray(layer)) for layer in layers)
    return _jpeg(small), prediction, truth, errors


def _sample(label_map: NDArray[np.integer], size: tuple[int, int]) -> NDArray[np.integer]:
    """The label map (H, W) in another size (h, w): the nearest pixels, because classes must not mix."""
    rows, columns = (
        ((np.arange(small) + 0.5) * large / small).astype(np.int64)
        for small, large in zip(size, label_map.shape, strict=True)
    )
    return label_map[np.ix_(rows, columns)]


def _in_words(label_map: NDArray[np.integer], labels: Labels) -> str:
    """The largest classes of a label map with their shares: 'road 41.0 %, sky 20.3 %'."""
    values, pixels = np.unique(label_map, return_counts=True)
    largest = sorted(zip(pixels.tolist(), values.tolist(), strict=True), reverse=True)[:NAMED_CLASSES]
    names = {**dict(enumerate(labels.names)), labels.ignore_index: "void"}
    return ", ".join(f"{names[value]} {percent(number / label_map.size)}" for number, value in largest)


def _jpeg(image: Image.Image) -> str:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return _uri(stream, "image/jpeg")


def _lossless(image: Image.Image) -> str:
    """PNG with a palette: a picture of few colours, exactly, because the page reads classes back from the colours."""
    stream = BytesIO()
    if image.getcolors(maxcolors=256) is not None:
        image = _with_palette(image)
    image.save(stream, "PNG")
    return _uri(stream, "image/png")


def _with_palette(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image.convert("RGB")).astype(np.uint32)
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    colours, index = np.unique(packed, return_inverse=True)
    result = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
    result.putpalette([int(colour) >> shift & 255 for colour in colours for shift in (16, 8, 0)])
    return result


def _uri(stream: BytesIO, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
