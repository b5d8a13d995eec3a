"""The canvas that scenes are painted on: colours and things at twice the size, and the camera before it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.scenes.light import Light, Ramp
from atrous.scenes.textures import Field

__all__ = ["Box", "Camera", "Canvas", "Point", "ring"]

Point = tuple[float, float]  # x, y in pixels of the canvas
Box = tuple[int, int, int, int]  # top, left, bottom, right; half-open


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A level camera over flat ground: metres to pixels of the canvas.

    `eye` is its height in metres, `focal` its focal length in pixels; the ground ends at row `horizon`, lines that run
    away from the viewer meet at column `centre`. World points are (side, up, away) in metres.
    """

    height: int
    width: int
    horizon: float
    centre: float
    eye: float
    focal: float

    def scale(self, away: float) -> float:
        """Pixels per metre at a distance of `away` metres."""
        return self.focal / away

    def point(self, side: float, up: float, away: float) -> Point:
        """Where a world point is seen."""
        scale = self.focal / away
        return self.centre + side * scale, self.horizon + (self.eye - up) * scale

    def away(self, row: float) -> float:
        """Distance in metres of the ground seen at a row below the horizon."""
        return self.focal * self.eye / max(row - self.horizon, 1e-3)


@dataclass(kw_only=True)
class Canvas:
    """Colours (H, W, 3) and thing numbers (H, W), at twice the size of the scene.

    Every thing has its own number, so that a void border can be drawn between things of one class too; `labels` holds
    the class of each.
    `unit` is the size of the scene relative to a height of 192 pixels, for the grain of textures.
    """

    camera: Camera
    light: Light
    rng: np.random.Generator
    unit: float
    image: NDArray[np.uint8] = field(init=False)
    things: NDArray[np.uint16] = field(init=False)
    labels: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        size = self.camera.height, self.camera.width
        self.image = np.zeros((*size, 3), np.uint8)
        self.things = np.zeros(size, np.uint16)

    def begin(self, label: int) -> None:
        """Start a new thing of a class: what is painted from here on belongs to it."""
        self.labels.append(label)

    @property
    def count(self) -> int:
        """The number of the thing that is being painted."""
        return len(self.labels) - 1

    def grain(self, pixels: float) -> int:
        """A texture size at the scene's size, for one given in canvas pixels at a height of 192."""
        return max(1, int(pixels * self.unit + 0.5))

    def clip(self, points: Sequence[Point]) -> Box | None:
        """The box of whole pixels around points, cut to the canvas; None where nothing is left."""
        columns, rows = [point[0] for point in points], [point[1] for point in points]
        top, bottom = max(0, int(min(rows))), min(self.camera.height, int(max(rows)) + 2)
        left, right = max(0, int(min(columns))), min(self.camera.width, int(max(columns)) + 2)
        return (top, left, bottom, right) if top < bottom and left < right else None

    def stamp(self, box: Box, shape: NDArray[np.uint8] | NDArray[np.bool_], texture: Field, ramp: Ramp) -> None:
        """Paint `texture` (h, w) through `ramp` where `shape` (h, w) is not 0."""
        top, left, bottom, right = box
        inside = shape.view(np.uint8)
        colours = cv2.applyColorMap(np.ascontiguousarray(texture), ramp)
        cv2.copyTo(colours, inside, self.image[top:bottom, left:right])
        number = np.full(inside.shape, self.count, np.uint16)
        cv2.copyTo(number, inside, self.things[top:bottom, left:right])

    def polygon(self, points: Sequence[Point], ramp: Ramp, *, brightness: Field | int = 150) -> None:
        """Fill a polygon with one brightness, or with a texture that is cut to the polygon's box."""
        box = self.clip(points)
        if box is None:
            return
        corners = np.array([[int(x + 0.5), int(y + 0.5)] for x, y in points], np.int32)
        if isinstance(brightness, int):
            cv2.fillPoly(self.image, [corners], ramp[brightness, 0].tolist())
            cv2.fillPoly(self.things, [corners], self.count)
            return
        shape = np.zeros((box[2] - box[0], box[3] - box[1]), np.uint8)
        cv2.fillPoly(shape, [corners], 1, offset=(-box[1], -box[0]))
        self.stamp(box, shape, brightness[: shape.shape[0], : shape.shape[1]], ramp)

    def line(self, points: Sequence[Point], colour: Sequence[int], width: int) -> None:
        """Draw a thin line over the picture that belongs to no thing (a wire): what is behind it keeps its class."""
        corners = np.array([[int(x + 0.5), int(y + 0.5)] for x, y in points], np.int32)
        cv2.polylines(self.image, [corners], False, [int(channel) for channel in colour], width)


def ring(x: float, y: float, radius_x: float, radius_y: float) -> list[Point]:
    """24 points on an ellipse, by the rational form of the circle: no sine, the same floats on every machine."""
    quarter = [
        ((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)) for t in (0, 0.13165, 0.26795, 0.41421, 0.57735, 0.76733)
    ]
    turned = [*quarter, *((-b, a) for a, b in quarter), *((-a, -b) for a, b in quarter), *((b, -a) for a, b in quarter)]
    return [(x + a * radius_x, y + b * radius_y) for a, b in turned]
