"""Cars, seen from the side, from behind or from the front."""

from collections.abc import Sequence
from dataclasses import dataclass

from atrous.scenes.canvas import Canvas, Point, ring
from atrous.scenes.classes import CAR
from atrous.scenes.light import Ramp

__all__ = ["Car", "draw_car"]

Outline = tuple[tuple[float, float], ...]  # along 0-1, up 0-1

PAINTS = (  # in shade, in the sun
    ((120, 14, 18), (226, 44, 44)),
    ((16, 40, 110), (52, 104, 214)),
    ((140, 106, 8), (248, 206, 48)),
    ((150, 152, 156), (246, 246, 246)),
    ((12, 84, 92), (36, 168, 176)),
    ((150, 58, 6), (252, 130, 36)),
    ((28, 28, 34), (84, 86, 96)),
)
SEDAN: Outline = (
    (0.0, 0.2), (0.01, 0.52), (0.16, 0.6), (0.3, 0.97), (0.62, 1.0), (0.78, 0.64), (0.97, 0.54), (1.0, 0.2),
)  # fmt: skip
VAN: Outline = ((0.0, 0.16), (0.0, 0.95), (0.05, 1.0), (0.72, 1.0), (0.84, 0.6), (0.98, 0.5), (1.0, 0.16))
HATCH: Outline = ((0.0, 0.2), (0.0, 0.62), (0.1, 0.98), (0.58, 1.0), (0.76, 0.63), (0.97, 0.54), (1.0, 0.2))
GLASS: dict[str, tuple[Outline, ...]] = {
    "sedan": (
        ((0.22, 0.62), (0.32, 0.91), (0.46, 0.92), (0.46, 0.63)),
        ((0.49, 0.63), (0.49, 0.92), (0.61, 0.92), (0.72, 0.64)),
    ),
    "van": (((0.62, 0.6), (0.62, 0.9), (0.7, 0.9), (0.79, 0.6)), ((0.4, 0.6), (0.4, 0.9), (0.58, 0.9), (0.58, 0.6))),
    "hatch": (
        ((0.1, 0.64), (0.15, 0.9), (0.34, 0.91), (0.34, 0.64)),
        ((0.38, 0.64), (0.38, 0.91), (0.57, 0.91), (0.69, 0.64)),
    ),
}
BODIES = {"sedan": SEDAN, "van": VAN, "hatch": HATCH}


@dataclass(frozen=True, kw_only=True)
class Car:
    """A car whose middle stands at (`side`, `away`) metres; `facing` is left or right (seen so), front or back."""

    side: float
    away: float
    facing: str
    body: str
    paint_index: int

    @property
    def length(self) -> float:
        """In metres, as seen."""
        return (4.9 if self.body == "van" else 4.3) if self.facing in ("left", "right") else 1.85

    @property
    def height(self) -> float:
        """In metres."""
        return 2.0 if self.body == "van" else 1.5

    def shadow(self) -> tuple[list[tuple[float, float]], float]:
        """Its foot on the ground as (side, away) points, and its height."""
        half, deep = self.length / 2, 0.9 if self.facing in ("left", "right") else 2.1
        near, far = self.away - 0.1, self.away + 2 * deep
        return [
            (self.side - half, near),
            (self.side + half, near),
            (self.side + half, far),
            (self.side - half, far),
        ], self.height

    def paint(self, canvas: Canvas) -> None:
        """Paint the wheels, the body, then glass and lights."""
        canvas.begin(CAR)
        low, high = PAINTS[self.paint_index]
        ramp = canvas.light.ramp(low, high, distance=self.away)
        if self.facing in ("left", "right"):
            self._from_side(canvas, ramp)
        else:
            self._from_end(canvas, ramp)

    def _place(self, canvas: Canvas, outline: Sequence[tuple[float, float]]) -> list[Point]:
        """Where points (along 0-1, up 0-1) of the outline are seen."""
        mirrored = self.facing == "left"
        return [
            canvas.camera.point(
                self.side + (0.5 - along if mirrored else along - 0.5) * self.length, up * self.height, self.away
            )
            for along, up in outline
        ]

    def _from_side(self, canvas: Canvas, ramp: Ramp) -> None:
        light = canvas.light
        outline = BODIES[self.body]
        canvas.polygon(self._place(canvas, outline), ramp, brightness=178)
        waist = [(0.0, 0.14), (0.0, 0.44), (1.0, 0.44), (1.0, 0.14)]
        canvas.polygon(self._place(canvas, waist), ramp, brightness=118)
        canvas.polygon(
            self._place(canvas, [(0.0, 0.44), (0.005, 0.5), (0.985, 0.5), (1.0, 0.44)]), ramp, brightness=232
        )
        glass = light.ramp((18, 26, 36), (100, 132, 156), distance=self.away)
        for shade, pane in zip((100, 130), GLASS[self.body], strict=True):
            canvas.polygon(self._place(canvas, pane), glass, brightness=shade)
        tyre, hub = light.ramp((14, 14, 16), (44, 44, 48)), light.ramp((110, 112, 116), (206, 208, 212))
        scale = canvas.camera.scale(self.away)
        for along in (0.2, 0.79):
            x, y = self._place(canvas, [(along, 0.33 / self.height)])[0]
            canvas.polygon(ring(x, y, 0.35 * scale, 0.35 * scale), tyre, brightness=110)
            canvas.polygon(ring(x, y, 0.18 * scale, 0.18 * scale), hub, brightness=130)
        lamp = light.ramp((200, 190, 150), (255, 246, 214))
        canvas.polygon(
            self._place(canvas, [(0.95, 0.42), (0.95, 0.52), (0.99, 0.5), (0.995, 0.42)]), lamp, brightness=190
        )
        rear = light.ramp((140, 10, 10), (236, 36, 30))
        canvas.polygon(
            self._place(canvas, [(0.0, 0.44), (0.0, 0.56), (0.04, 0.57), (0.04, 0.44)]), rear, brightness=170
        )

    def _from_end(self, canvas: Canvas, ramp: Ramp) -> None:
        light = canvas.light
        tyre = light.ramp((14, 14, 16), (44, 44, 48))
        for left in (0.03, 0.77):
            wheel = [(left, 0.0), (left + 0.2, 0.0), (left + 0.2, 0.3), (left, 0.3)]
            canvas.polygon(self._place(canvas, wheel), tyre, brightness=100)
        wide = self.body == "van"
        roof = (0.07, 0.93) if wide else (0.19, 0.81)
        cabin = [
            (0.02, 0.55),
            (roof[0], 0.97),
            (roof[0] + 0.05, 1.0),
            (roof[1] - 0.05, 1.0),
            (roof[1], 0.97),
            (0.98, 0.55),
        ]
        canvas.polygon(self._place(canvas, cabin), ramp, brightness=205)
        canvas.polygon(self._place(canvas, [(0.0, 0.16), (0.0, 0.6), (1.0, 0.6), (1.0, 0.16)]), ramp, brightness=150)
        canvas.polygon(self._place(canvas, [(0.0, 0.16), (0.0, 0.28), (1.0, 0.28), (1.0, 0.16)]), ramp, brightness=80)
        glass = light.ramp((18, 26, 36), (104, 136, 160), distance=self.away)
        pane = [(0.1, 0.63), (roof[0] + 0.05, 0.92), (roof[1] - 0.05, 0.92), (0.9, 0.63)]
        canvas.polygon(self._place(canvas, pane), glass, brightness=125)
        ends = ((140, 10, 10), (240, 40, 32)) if self.facing == "back" else ((190, 184, 160), (255, 250, 226))
        lamp = light.ramp(*ends)
        for left in (0.02, 0.8):
            lights = [(left, 0.42), (left + 0.18, 0.42), (left + 0.18, 0.56), (left, 0.56)]
            canvas.polygon(self._place(canvas, lights), lamp, brightness=200 if light.lamps else 165)
        plate = [(0.36, 0.33), (0.64, 0.33), (0.64, 0.43), (0.36, 0.43)]
        canvas.polygon(self._place(canvas, plate), light.ramp((150, 150, 140), (236, 236, 224)), brightness=160)


def draw_car(side: float, away: float, facing: str, *, body: int, paint_index: int) -> Car:
    """A car of the given body (0 sedan, 1 hatchback, 2 van) and paint (0-6)."""
    return Car(side=side, away=away, facing=facing, body=("sedan", "hatch", "van")[body], paint_index=paint_index)
