"""Thin things: street lamps, telephone poles with wires, road signs, fence posts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atrous.scenes.canvas import Canvas, Point, ring
from atrous.scenes.classes import POLE
from atrous.scenes.light import Ramp

__all__ = ["Pole"]

HEIGHTS = {"lamp": 6.0, "wood": 6.5, "sign": 2.6, "post": 1.25}  # metres
LEAST = 7.4  # pixels of the canvas: nearly four of the scene, so that a small network can see it

METAL = ((52, 56, 62), (128, 134, 140))
WOOD = ((58, 40, 28), (124, 92, 66))


@dataclass(frozen=True, kw_only=True)
class Pole:
    """A pole that stands at (`side`, `away`) metres. `arm` points a lamp left (-1) or right (1).

    `next_pole` is where wires run to, (side, away) in metres; a wire is drawn but is no class: what is behind it is.
    """

    side: float
    away: float
    kind: str
    arm: int = 1
    next_pole: tuple[float, float] | None = None
    board: int = 0

    @property
    def height(self) -> float:
        """In metres."""
        return HEIGHTS[self.kind]

    def shadow(self) -> tuple[list[tuple[float, float]], float]:
        """Its foot on the ground as (side, away) points, and its height."""
        return [(self.side - 0.1, self.away), (self.side + 0.1, self.away)], self.height

    def paint(self, canvas: Canvas) -> None:
        """Paint the wires to the next pole, the pole, and what it carries."""
        canvas.begin(POLE)
        scale = canvas.camera.scale(self.away)
        width = max(LEAST * canvas.unit, (0.24 if self.kind in ("wood", "post") else 0.19) * scale)
        colours = WOOD if self.kind in ("wood", "post") else METAL
        ramp = canvas.light.ramp(*colours, distance=self.away * 0.6)
        if self.next_pole is not None:
            self._wires(canvas)
        x, foot = canvas.camera.point(self.side, 0, self.away)
        top = canvas.camera.point(self.side, self.height, self.away)[1]
        self._shaft(canvas, x, top, foot, width, ramp)
        if self.kind == "lamp":
            self._lamp(canvas, x, top, width, ramp)
        elif self.kind == "wood":
            reach = max(0.9 * scale, width)
            for drop in (0.35, 0.95):
                bar = top + drop * scale
                thick = max(width * 0.7, 0.13 * scale)
                corners = [(x - reach, bar), (x + reach, bar), (x + reach, bar + thick), (x - reach, bar + thick)]
                canvas.polygon(corners, ramp, brightness=110)
        elif self.kind == "sign":
            self._sign(canvas, x, top, scale)

    def _shaft(self, canvas: Canvas, x: float, top: float, foot: float, width: float, ramp: Ramp) -> None:
        """A round shaft: brighter towards the sun."""
        corners = [(x - width / 2, top), (x + width / 2 - 1, top), (x + width / 2 - 1, foot), (x - width / 2, foot)]
        box = canvas.clip(corners)
        if box is None:
            return
        across = np.linspace(-1, 1, box[3] - box[1]) * canvas.light.side
        texture = np.broadcast_to((125 + 75 * across).astype(np.uint8), (box[2] - box[0], box[3] - box[1]))
        canvas.polygon(corners, ramp, brightness=texture)

    def _lamp(self, canvas: Canvas, x: float, top: float, width: float, ramp: Ramp) -> None:
        scale = canvas.camera.scale(self.away)
        end, thick = x + self.arm * 1.3 * scale, max(width * 0.75, 0.12 * scale)
        rise = 0.35 * scale
        arm: Sequence[Point] = [(x, top), (end, top - rise), (end, top - rise + thick), (x, top + thick)]
        canvas.polygon(arm, ramp, brightness=150)
        lit = canvas.light.ramp((250, 214, 130), (255, 244, 200)) if canvas.light.lamps else ramp
        half = max(0.42 * scale, width * 0.8)
        canvas.polygon(ring(end, top - rise + thick, half, max(thick, half * 0.45)), lit, brightness=200)

    def _sign(self, canvas: Canvas, x: float, top: float, scale: float) -> None:
        radius = 0.5 * scale
        red, white = (
            canvas.light.ramp((150, 16, 20), (220, 38, 38)),
            canvas.light.ramp((170, 170, 166), (244, 244, 238)),
        )
        blue = canvas.light.ramp((20, 50, 120), (40, 92, 190))
        y = top + radius * 0.6
        if self.board == 0:
            canvas.polygon(ring(x, y, radius, radius), red)
            canvas.polygon(ring(x, y, radius * 0.66, radius * 0.66), white)
        elif self.board == 1:
            for size, ramp in ((1.1, red), (0.6, white)):
                corners = [(x, y - radius * size), (x + radius * size, y + radius * size * 0.75)]
                canvas.polygon([*corners, (x - radius * size, y + radius * size * 0.75)], ramp)
        else:
            square = [
                (x - radius, y - radius),
                (x + radius, y - radius),
                (x + radius, y + radius),
                (x - radius, y + radius),
            ]
            canvas.polygon(square, blue)
            arrow = [(x - radius * 0.6, y + radius * 0.1), (x, y - radius * 0.65), (x + radius * 0.6, y + radius * 0.1)]
            canvas.polygon(arrow, white)
            half = radius * 0.2
            stem = [(x - half, y), (x + half, y), (x + half, y + radius * 0.65), (x - half, y + radius * 0.65)]
            canvas.polygon(stem, white)

    def _wires(self, canvas: Canvas) -> None:
        """Sagging wires to the next pole."""
        if self.next_pole is None:
            return
        side, away = self.next_pole
        colour = canvas.light.ramp((30, 30, 34), (60, 60, 66), distance=self.away * 0.4)[110, 0].tolist()
        thin = self.kind == "post"
        for offset, up in (
            ((0.0, 0.45), (0.0, 0.85)) if thin else ((-0.8, 0.95), (0.8, 0.95), (-0.8, 0.86), (0.8, 0.86))
        ):
            points: list[Point] = []
            for step in range(9):
                part = step / 8
                sag = 0.0 if thin else 0.7 * 4 * part * (1 - part)
                where = self.side + offset + (side - self.side) * part
                points.append(canvas.camera.point(where, self.height * up - sag, self.away + (away - self.away) * part))
            canvas.line(points, colour, max(1, canvas.grain(2) if self.away < 20 else canvas.grain(1)))
