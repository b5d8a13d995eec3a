"""Houses: a box in true perspective with a gabled, hipped or flat roof, walls of several materials, windows, a door."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atrous.scenes.canvas import Canvas, Point
from atrous.scenes.classes import HOUSE
from atrous.scenes.light import Ramp
from atrous.scenes.textures import Field, courses, crop, noise

__all__ = ["House", "draw_house"]

Colours = tuple[tuple[int, int, int], tuple[int, int, int]]  # in shade, in the sun

WALLS: tuple[tuple[str, Colours], ...] = (
    ("brick", ((116, 52, 40), (190, 98, 76))),
    ("brick", ((134, 84, 58), (206, 150, 112))),
    ("plaster", ((158, 146, 122), (240, 228, 202))),
    ("plaster", ((160, 124, 78), (238, 200, 140))),
    ("plaster", ((148, 104, 96), (226, 178, 164))),
    ("boards", ((132, 40, 34), (196, 72, 60))),
    ("boards", ((142, 144, 146), (232, 232, 228))),
)
ROOFS: tuple[Colours, ...] = (
    ((98, 40, 28), (180, 84, 58)),
    ((84, 44, 36), (150, 84, 66)),
    ((56, 44, 44), (110, 90, 88)),
)


@dataclass(frozen=True, kw_only=True)
class House:
    """A house from `left` to `left + width` metres, its front `away` metres from the viewer; all lengths in metres."""

    left: float
    away: float
    width: float
    depth: float
    wall: float
    roof: float
    style: str
    material: int
    tiles: int

    def shadow(self) -> tuple[list[tuple[float, float]], float]:
        """Its foot on the ground as (side, away) points, and its height."""
        right, back = self.left + self.width, self.away + self.depth
        foot = [(self.left, self.away), (right, self.away), (right, back), (self.left, back)]
        return foot, self.wall + self.roof * 0.6

    def paint(self, canvas: Canvas) -> None:
        """Paint the side that can be seen, the front, then the roof."""
        canvas.begin(HOUSE)
        right, back = self.left + self.width, self.away + self.depth
        beside = self.left if self.left > 0 else right if right < 0 else None
        lit = 165 if canvas.light.side * self.left > 0 else 145
        kind, (low, high) = WALLS[self.material]
        ramp = canvas.light.ramp(low, high, distance=self.away)
        if beside is not None:
            wall = [
                (beside, 0.0, self.away),
                (beside, 0.0, back),
                (beside, self.wall, back),
                (beside, self.wall, self.away),
            ]
            if self.style == "gable-side":
                wall.insert(3, (beside, self.wall + self.roof, (self.away + back) / 2))
            facing = canvas.light.side * (-1 if self.left > 0 else 1) > 0
            self._surface(canvas, wall, ramp, kind, 52 if not facing else 10)
            self._side_windows(canvas, beside)
        front = [(self.left, 0.0), (right, 0.0), (right, self.wall), (self.left, self.wall)]
        if self.style == "gable-front":
            front.insert(3, ((self.left + right) / 2, self.wall + self.roof))
        self._surface(canvas, [(x, y, self.away) for x, y in front], ramp, kind, 185 - lit)
        self._front_openings(canvas)
        self._roof(canvas, back, beside)

    def _surface(
        self, canvas: Canvas, points: Sequence[tuple[float, float, float]], ramp: Ramp, kind: str, darker: int
    ) -> None:
        corners = [canvas.camera.point(*point) for point in points]
        box = canvas.clip(corners)
        if box is None:
            return
        scale = canvas.camera.scale(self.away)
        texture = crop(_material(canvas, kind, scale), box[2] - box[0], box[3] - box[1], canvas.rng)
        canvas.polygon(corners, ramp, brightness=np.maximum(texture, darker) - np.uint8(darker))

    def _roof(self, canvas: Canvas, back: float, beside: float | None) -> None:
        low, high = ROOFS[self.tiles]
        ramp = canvas.light.ramp(low, high, distance=self.away)
        over, right, top = 0.35, self.left + self.width, self.wall + self.roof
        middle, ridge = (self.left + right) / 2, (self.away + back) / 2
        if self.style == "flat":
            rim = [(self.left - 0.15, self.wall), (right + 0.15, self.wall), (right + 0.15, self.wall + 0.5)]
            rim.append((self.left - 0.15, self.wall + 0.5))
            corners = [canvas.camera.point(x, y, self.away - 0.1) for x, y in rim]
            canvas.polygon(corners, canvas.light.ramp((92, 88, 86), (170, 164, 158), distance=self.away))
            return
        if self.style == "gable-front":  # the ridge runs away from the viewer: one slope shows beside the gable
            if beside is not None:
                out = -over if beside == self.left else over
                slope = [(beside + out, self.wall - 0.2, self.away - over), (beside + out, self.wall - 0.2, back)]
                slope += [(middle, top, back), (middle, top, self.away - over)]
                self._surface(canvas, slope, ramp, "tiles", 24)
            for eave in (self.left - over, right + over):  # the boards along the gable
                board = [(eave, self.wall - 0.3), (middle, top), (middle, top + 0.35), (eave, self.wall + 0.05)]
                canvas.polygon([canvas.camera.point(x, y, self.away - 0.1) for x, y in board], ramp, brightness=120)
            return
        inset = self.roof * 0.9 if self.style == "hip" else -over
        slope = [
            (self.left - over, self.wall - 0.1, self.away - over),
            (right + over, self.wall - 0.1, self.away - over),
        ]
        slope += [(right - inset, top, ridge), (self.left + inset, top, ridge)]
        if self.style == "hip" and beside is not None:
            out, end = (-over, inset) if beside == self.left else (over, -inset)
            side = [(beside + out, self.wall - 0.1, self.away - over), (beside + out, self.wall - 0.1, back)]
            self._surface(canvas, [*side, (beside + end, top, ridge)], ramp, "tiles", 60)
        self._surface(canvas, slope, ramp, "tiles", 12)
        chimney = middle + self.width * 0.22
        bricks = canvas.light.ramp((96, 50, 40), (160, 90, 72), distance=self.away)
        stack = [(chimney, top - 0.7), (chimney + 0.6, top - 0.7), (chimney + 0.6, top + 0.8), (chimney, top + 0.8)]
        canvas.polygon([canvas.camera.point(x, y, ridge) for x, y in stack], bricks)

    def _front_openings(self, canvas: Canvas) -> None:
        """Windows on every floor, and one door in the middle."""
        floors, columns = max(1, int(self.wall / 2.7)), max(2, int(self.width / 2.3))
        pitch = self.width / columns
        for floor in range(floors):
            for column in range(columns):
                x = self.left + (column + 0.5) * pitch
                sill = floor * 2.7 + 0.95
                if floor == 0 and column == columns // 2:
                    self._panel(
                        canvas, x, 1.0, 0.0, 2.1, canvas.light.ramp((62, 40, 28), (116, 74, 50), distance=self.away)
                    )
                else:
                    self._window(canvas, x, min(1.1, pitch * 0.55), sill, 1.25)

    def _window(self, canvas: Canvas, x: float, width: float, sill: float, height: float) -> None:
        light, rng = canvas.light, canvas.rng
        self._panel(canvas, x, width + 0.25, sill - 0.12, height + 0.24, light.ramp((150, 150, 146), (238, 236, 230)))
        if light.lamps and rng.random() < 0.6:
            glass = light.ramp((190, 130, 50), (255, 216, 124))
        else:
            glass = light.ramp((24, 32, 44), (92, 116, 140), distance=self.away)
        self._panel(canvas, x, width, sill, height, glass, brightness=int(rng.integers(70, 170)))

    def _panel(
        self, canvas: Canvas, x: float, width: float, foot: float, height: float, ramp: Ramp, *, brightness: int = 150
    ) -> None:
        corners: list[Point] = []
        for side, up in ((-0.5, 0.0), (0.5, 0.0), (0.5, 1.0), (-0.5, 1.0)):
            corners.append(canvas.camera.point(x + side * width, foot + up * height, self.away))
        canvas.polygon(corners, ramp, brightness=brightness)

    def _side_windows(self, canvas: Canvas, beside: float) -> None:
        glass = canvas.light.ramp((24, 32, 44), (84, 104, 126), distance=self.away)
        count = max(1, int(self.depth / 3))
        for floor in range(max(1, int(self.wall / 2.7))):
            for column in range(count):
                middle = self.away + (column + 0.5) * self.depth / count
                sill = floor * 2.7 + 0.95
                corners = [
                    (middle - 0.5, sill),
                    (middle + 0.5, sill),
                    (middle + 0.5, sill + 1.25),
                    (middle - 0.5, sill + 1.25),
                ]
                canvas.polygon([canvas.camera.point(beside, up, away) for away, up in corners], glass, brightness=110)


def _material(canvas: Canvas, kind: str, scale: float) -> Field:
    """The tile of a wall or roof; bricks and boards have the size that perspective gives them."""
    if kind == "brick":
        height = min(10, max(3, int(0.2 * scale + 0.5)))
        return courses(height, height * 2 + height // 2)
    if kind == "boards":
        return courses(min(10, max(3, int(0.25 * scale + 0.5))), 256, shift=False)
    if kind == "tiles":
        height = min(10, max(3, int(0.3 * scale + 0.5)))
        return courses(height, height + height // 3)
    return noise(canvas.grain(32), octaves=3) // 4 + 135


def draw_house(left: float, away: float, rng: np.random.Generator) -> House:
    """A house of a random kind."""
    style = ("gable-side", "gable-front", "hip", "gable-side", "gable-front", "flat")[int(rng.integers(0, 6))]
    floors = int(rng.integers(2, 4)) if style == "flat" else int(rng.integers(1, 3))
    return House(
        left=left,
        away=away,
        width=6.0 + 5.0 * float(rng.random()),
        depth=6.0 + 4.0 * float(rng.random()),
        wall=2.8 * floors + 0.3,
        roof=0.5 if style == "flat" else 2.0 + 1.6 * float(rng.random()),
        style=style,
        material=int(rng.integers(0, len(WALLS))),
        tiles=int(rng.integers(0, len(ROOFS))),
    )
