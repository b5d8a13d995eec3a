"""Label maps as pictures: class colours, overlays with a legend, error maps, pictures side by side."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from atrous.errors import ConfigError, DataError
from atrous.labels import VOID_COLOUR, Labels
from atrous.regions import class_table, count_pixels

__all__ = ["class_legend", "colourise", "error_map", "overlay", "side_by_side"]

Picture = NDArray[np.uint8]  # (H, W, 3), red, green, blue
LabelMap = NDArray[np.integer]  # (H, W) class ids

PAPER = (250, 250, 250)
INK = (28, 28, 32)
UNKNOWN = (150, 150, 150)  # void in an error map
ELLIPSIS = "\u2026"
LEAST_FONT = 9  # pixels; smaller letters of the bundled font cannot be read


def colourise(label_map: LabelMap, labels: Labels) -> Picture:
    """The colours (H, W, 3) uint8 of a label map (H, W); void is VOC's pale yellow.

    Raises:
        DataError: the map holds a value that is neither a class nor void.
    """
    count_pixels(label_map, labels)
    table = np.full((max(labels.num_classes, labels.ignore_index + 1, 256), 3), VOID_COLOUR, np.uint8)
    table[: labels.num_classes] = labels.palette
    if label_map.dtype == np.uint8 and label_map.size:  # five times as fast as indexing
        return np.asarray(cv2.applyColorMap(np.ascontiguousarray(label_map), table[:256, None]), np.uint8)
    return table[label_map]


def overlay(
    image: NDArray[np.uint8],
    label_map: LabelMap,
    labels: Labels,
    *,
    opacity: float = 0.5,
    outlines: bool = True,
    legend: bool = True,
) -> Picture:
    """Class colours over an image, with a legend below it.

    The image part keeps its size; void stays as it is under a hatching. The legend names the classes that are present
    with their share of all pixels, the largest first; its letters grow with the image.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        label_map: Class ids (H, W).
        labels: Names, colours and the value that is void.
        opacity: Of the class colours, 0-1.
        outlines: Draw the border of every class in its full colour.
        legend: Add the legend.

    Returns:
        (H, W, 3) uint8, higher by the legend where there is one.

    Raises:
        ConfigError: `opacity` is not in 0-1.
        DataError: image and map differ in size, or the map holds a value that is neither a class nor void.
    """
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity is {opacity}, expected 0 (only the image) to 1 (only the colours). Try 0.5.")
    image = _coloured(image, label_map, "image")
    colours = colourise(label_map, labels)
    picture = np.asarray(cv2.addWeighted(colours, opacity, image, 1 - opacity, 0), np.uint8)
    void = (label_map == labels.ignore_index).view(np.uint8)
    scale = _scale(image)
    if void.any():
        cv2.copyTo(_hatched(image, scale), void, picture)
    if outlines:
        cv2.copyTo(colours, _borders(label_map, max(1, int(scale / 2))) & (1 - void), picture)
    return np.concatenate([picture, _legend(picture, labels, class_table(label_map, labels))]) if legend else picture


def class_legend(size: tuple[int, int], labels: Labels) -> Picture:
    """A legend (h, W, 3) uint8 of all classes without shares, for a picture of `size` (height, width).

    It is the same for every frame of a video, whose own legends would change with it.
    """
    rows = [{"class_id": number, "class_name": name, "share": None} for number, name in enumerate(labels.names)]
    return _legend(np.broadcast_to(np.uint8(0), (*size, 3)), labels, rows)


def error_map(
    label_map: LabelMap, mask: LabelMap, labels: Labels, *, image: NDArray[np.uint8] | None = None
) -> Picture:
    """Where a prediction is wrong: wrong pixels in the colour of the predicted class, right ones dark, void grey.

    Args:
        label_map: Predicted class ids (H, W).
        mask: True class ids (H, W).
        labels: Names, colours and the value that is void.
        image: The picture (H, W, 3) or (H, W) uint8, shown dimmed where the prediction is right.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: the sizes differ, or a map holds a value that is neither a class nor void.
    """
    if label_map.shape != mask.shape:
        raise DataError(
            f"the prediction is {_size(label_map)}, the mask {_size(mask)}; expected the same size. Resize one."
        )
    count_pixels(mask, labels)
    if image is None:
        picture = np.full((*mask.shape, 3), 36, np.uint8)
    else:
        grey = cv2.cvtColor(_coloured(image, mask, "image"), cv2.COLOR_RGB2GRAY)
        picture = np.repeat(np.asarray(grey, np.uint8)[..., None] // 3 + 12, 3, axis=2)
    wrong = (label_map != mask).view(np.uint8)
    cv2.copyTo(colourise(label_map, labels), wrong, picture)
    picture[mask == labels.ignore_index] = UNKNOWN
    return picture


def side_by_side(
    pictures: Sequence[NDArray[np.uint8]], titles: Sequence[str] = (), *, columns: int | None = None
) -> Picture:
    """Pictures (H, W, 3) or (H, W) uint8 in rows of `columns` (all in one row by default), each under its title.

    Every picture keeps its size; what is smaller than its row or column gets white margins.

    Raises:
        ConfigError: there is no picture, `columns` is under 1, or there are titles but not one for each picture.
    """
    if not pictures or (columns is not None and columns < 1) or (titles and len(titles) != len(pictures)):
        raise ConfigError(
            f"{len(pictures)} pictures, {len(titles)} titles, columns={columns}; expected at least one picture, "
            "no title or one for each picture, and 1 column or more. Give lists of the same length."
        )
    coloured = [_coloured(picture, picture, "picture") for picture in pictures]
    columns = min(columns or len(coloured), len(coloured))
    gap = max(2, int(_scale(coloured[0]) * 2))
    size = _font_size(max(coloured, key=lambda picture: picture.size))
    headed = [
        np.concatenate([_text_line(title, picture.shape[1], size), picture]) if titles else picture
        for picture, title in zip(coloured, titles or [""] * len(coloured), strict=True)
    ]
    rows = [headed[start : start + columns] for start in range(0, len(headed), columns)]
    widths = [max(row[at].shape[1] for row in rows if at < len(row)) for at in range(columns)]
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    sheet = np.full((sum(heights) + gap * (len(rows) - 1), sum(widths) + gap * (columns - 1), 3), PAPER, np.uint8)
    for number, row in enumerate(rows):
        top = sum(heights[:number]) + gap * number
        for at, picture in enumerate(row):
            left = sum(widths[:at]) + gap * at
            sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def _size(array: NDArray[np.integer]) -> str:
    return " x ".join(str(side) for side in array.shape[:2])


def _coloured(image: NDArray[np.uint8], like: NDArray[np.integer], name: str) -> Picture:
    """The image with three channels, checked against another array's height and width."""
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
        or not image.size
    ):
        raise DataError(
            f"the {name} is an array {image.shape} of {image.dtype}, expected (height, width, 3) or (height, width) "
            "bytes. Pick three bands and scale them to 0-255."
        )
    if image.shape[:2] != like.shape[:2]:
        raise DataError(
            f"the {name} is {_size(image)}, the label map {_size(like)}; expected the same size. Resize one."
        )
    return np.ascontiguousarray(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))


def _scale(picture: Picture) -> float:
    """Line widths grow with the picture: 2 at 480 pixels (the geometric mean of the sides), 1 at the least."""
    return max(1.0, (picture.shape[0] * picture.shape[1]) ** 0.5 / 240)


def _hatched(image: Picture, scale: float) -> Picture:
    """The image under thin diagonal lines, white and black in turn, so that one of them shows on any ground."""
    height, width = image.shape[:2]
    period, thick = max(6, int(5 * scale)), max(1, int(scale * 0.7))
    place = np.arange(height + width - 1) % (2 * period)
    hatched = image.copy()
    for start, grey in ((0, 235), (period, 30)):
        line = ((place >= start) & (place < start + thick)).view(np.uint8)
        lines = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(line, width))  # one pixel on in each row
        cv2.copyTo(np.full_like(image, grey), lines, hatched)
    return hatched


def _borders(label_map: LabelMap, width: int) -> NDArray[np.uint8]:
    """1 where another class is within `width` pixels."""
    border = np.zeros(label_map.shape, np.uint8)
    down, right = label_map[1:] != label_map[:-1], label_map[:, 1:] != label_map[:, :-1]
    border[1:] |= down
    border[:-1] |= down
    border[:, 1:] |= right
    border[:, :-1] |= right
    if width > 1:
        return np.asarray(cv2.dilate(border, np.ones((2 * width - 1, 2 * width - 1), np.uint8)), np.uint8)
    return border


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _font_size(picture: Picture) -> int:
    """About 1/40 of the picture (12 pixels at 480), a little more for small ones."""
    side = (picture.shape[0] * picture.shape[1]) ** 0.5
    return max(LEAST_FONT, int(side / 40), min(13, int(side / 20)))


def _shortened(text: str, width: float, size: int) -> str:
    """The text, cut with an ellipsis so that it takes at most `width` pixels."""
    font = _font(size)
    text = " ".join(text.encode(errors="replace").decode().split())  # one line that can be drawn
    if font.getlength(text) <= width:
        return text
    kept = text
    while kept and font.getlength(kept + ELLIPSIS) > width:
        kept = kept[:-1]
    return kept.rstrip() + ELLIPSIS if kept else ""


def _text_line(text: str, width: int, size: int) -> Picture:
    """One line of text (h, width, 3), cut to the width."""
    sheet = Image.new("RGB", (width, int(size * 1.6)), PAPER)
    margin = max(1, size // 4)
    line = _shortened(text, width - 2 * margin, size)
    ImageDraw.Draw(sheet).text((margin, sheet.height // 2), line, INK, _font(size), anchor="lm")
    return np.asarray(sheet, np.uint8)


def _percent(share: float | None) -> str:
    """A share as a percentage that never reads 0 for what is there, nor 100 for what is not all."""
    if share is None:
        return ""
    percent = share * 100
    if percent < 0.1:
        return "<0.1%"
    if percent >= 9.95:
        return f"{percent:.0f}%" if percent < 99.5 or share == 1 else ">99%"
    return f"{percent:.1f}%"


def _legend(picture: Picture, labels: Labels, table: Sequence[dict[str, Any]]) -> Picture:
    """A strip (h, W, 3) of swatch, name and share for each class, in columns; of many classes the largest ones."""
    height, width = picture.shape[:2]
    size = _font_size(picture)
    font, line, margin = _font(size), int(size * 1.6), max(2, size // 2)
    swatch = size
    share_width = int(max((font.getlength(_percent(row["share"])) for row in table), default=0)) + 1
    inside = max(1, width - 2 * margin)
    longest = int(max((font.getlength(row["class_name"]) for row in table), default=0)) + 1
    item = swatch + margin + longest + margin + share_width
    columns = max(1, min(len(table), (inside + 2 * margin) // (min(item, inside) + 2 * margin)))
    item = min(item, (inside - 2 * margin * (columns - 1)) // columns)
    lines = max(8, height // line)
    shown = table if len(table) <= lines * columns else table[: lines * columns - 1]
    entries = [(labels.palette[row["class_id"]], row["class_name"], _percent(row["share"])) for row in shown]
    if len(shown) < len(table):
        entries.append((PAPER, f"and {len(table) - len(shown)} more", ""))
    rows = -(-len(entries) // columns)
    sheet = Image.new("RGB", (width, rows * line + 2 * (margin // 2) if entries else 0), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (colour, name, share) in enumerate(entries):
        left = margin + number // rows * (item + 2 * margin)
        top = margin // 2 + number % rows * line
        middle = top + line // 2
        if colour != PAPER:
            box = (left, middle - swatch // 2, left + swatch - 1, middle - swatch // 2 + swatch - 1)
            draw.rectangle(box, fill=colour, outline=INK if min(colour) > 200 else colour)
        text = left + swatch + max(2, margin // 2)
        room = left + item - share_width - margin // 2 - text if share else left + item - text
        draw.text((text, middle), _shortened(name, room, size), INK, font, anchor="lm")
        draw.text((left + item, middle), share, INK, font, anchor="rm")
    return np.asarray(sheet, np.uint8).reshape(sheet.height, width, 3)
