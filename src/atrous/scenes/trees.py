"""Trees: round crowns of many leaves, conifers in layers, bushes."""

from dataclasses import dataclass

import numpy as np

from atrous.scenes.canvas import Canvas
from atrous.scenes.classes import TREE
from atrous.scenes.light import Ramp
from atrous.scenes.textures import clip, crop, noise

__all__ = ["Tree", "draw_tree"]

LEAVES = (  # in shade, in the sun: oak, lime, spruce, autumn
    ((24, 58, 24), (88, 134, 52)),
    ((32, 68, 26), (108, 150, 56)),
    ((18, 50, 36), (62, 108, 70)),
    ((42, 64, 22), (126, 134, 50)),
)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A tree that stands at (`side`, `away`) metres; `height` and `spread` (half its crown) in metres."""

    side: float
    away: float
    height: float
    spread: float
    kind: str
    leaves: int

    def shadow(self) -> tuple[list[tuple[float, float]], float]:
        """A patch of ground about as wide as the crown, and the height that casts it."""
        half = self.spread * 0.8
        foot = [(self.side + x * half, self.away + y * half * 0.5) for x, y in ((-1, 0), (0, -1), (1, 0), (0, 1))]
        return foot, self.height * 0.75

    def paint(self, canvas: Canvas) -> None:
        """Paint the trunk, then the crown."""
        canvas.begin(TREE)
        if self.kind != "bush":
            self._trunk(canvas)
        if self.kind == "conifer":
            self._conifer(canvas)
        else:
            self._crown(canvas)

    def _trunk(self, canvas: Canvas) -> None:
        half = 0.045 * self.height * (0.6 if self.kind == "conifer" else 1)
        points = ((-half, 0.0), (half, 0.0), (half * 0.7, self.height * 0.55), (-half * 0.7, self.height * 0.55))
        corners = [canvas.camera.point(self.side + x, up, self.away) for x, up in points]
        box = canvas.clip(corners)
        if box is not None:
            bark = crop(noise(canvas.grain(4), octaves=2), box[2] - box[0], box[3] - box[1], canvas.rng) // 2 + 60
            canvas.polygon(corners, canvas.light.ramp((44, 34, 26), (112, 90, 68), distance=self.away), brightness=bark)

    def _crown(self, canvas: Canvas) -> None:
        """Several overlapping balls of leaves; the distance to the nearest one, roughened by noise, is the edge."""
        camera, rng = canvas.camera, canvas.rng
        scale = camera.scale(self.away)
        low = 0.0 if self.kind == "bush" else self.height * 0.3
        radius_x, radius_y = self.spread * scale, (self.height - low) / 2 * scale
        x, y = camera.point(self.side, (self.height + low) / 2, self.away)
        box = canvas.clip([(x - radius_x * 1.1, y - radius_y * 1.1), (x + radius_x * 1.1, y + radius_y * 1.1)])
        if box is None:
            return
        across = ((np.arange(box[1], box[3], dtype=np.float32) - np.float32(x)) / np.float32(radius_x))[None]
        down = ((np.arange(box[0], box[2], dtype=np.float32) - np.float32(y)) / np.float32(radius_y))[:, None]
        nearest = np.full((box[2] - box[0], box[3] - box[1]), np.float32(9))
        relief = np.zeros_like(nearest)
        for spot in rng.random((6, 3)):
            a, b = np.float32(spot[0] * 1.1 - 0.55), np.float32(spot[1] * 1.0 - 0.5)
            size = np.float32(0.4 + 0.2 * spot[2])
            to_side, to_top = (across - a) / size, (down - b) / size
            distance = to_side * to_side + to_top * to_top
            closer = distance < nearest
            np.copyto(nearest, distance, where=closer)
            np.copyto(relief, to_side * np.float32(canvas.light.side) - to_top, where=closer)
        grain = canvas.grain(min(14.0, max(4.0, scale * 0.45)))
        leaves = crop(noise(grain, octaves=3), *nearest.shape, rng)
        inside = nearest + (leaves.astype(np.float32) - 128) * np.float32(0.0045) < 1
        brightness = clip(leaves * np.float32(0.62) + 52 + relief * 30 - down * 16)
        canvas.stamp(box, inside, brightness, self._ramp(canvas))

    def _conifer(self, canvas: Canvas) -> None:
        """A cone whose edge steps outwards at every layer of branches."""
        camera, rng = canvas.camera, canvas.rng
        scale = camera.scale(self.away)
        x, foot = camera.point(self.side, self.height * 0.1, self.away)
        top = camera.point(self.side, self.height, self.away)[1]
        half = self.spread * scale
        box = canvas.clip([(x - half * 1.2, top), (x + half * 1.2, foot)])
        if box is None:
            return
        part = ((np.arange(box[0], box[2], dtype=np.float32) - np.float32(top)) / np.float32(foot - top))[:, None]
        across = ((np.arange(box[1], box[3], dtype=np.float32) - np.float32(x)) / np.float32(half))[None]
        layers = part * np.float32(7) + across * across * np.float32(0.9)  # branches droop towards their ends
        step = layers - layers.astype(np.int32)
        reach = part * np.float32(0.72) + step * np.float32(0.28) * (part * np.float32(0.8) + np.float32(0.2))
        needles = crop(
            noise(canvas.grain(min(9.0, max(3.0, scale * 0.3))), octaves=3), box[2] - box[0], box[3] - box[1], rng
        )
        rough = (needles.astype(np.float32) - 128) * np.float32(0.0016)
        inside = np.abs(across) + rough < reach
        brightness = clip(
            needles * np.float32(0.5) + 40 + across * np.float32(44 * canvas.light.side) + step * 46 - part * 12
        )
        canvas.stamp(box, inside, brightness, self._ramp(canvas))

    def _ramp(self, canvas: Canvas) -> Ramp:
        low, high = LEAVES[self.leaves]
        return canvas.light.ramp(low, high, distance=self.away)


def draw_tree(side: float, away: float, rng: np.random.Generator) -> Tree:
    """A tree of a random kind."""
    kind = ("crown", "crown", "crown", "conifer", "conifer", "bush")[int(rng.integers(0, 6))]
    height = {"crown": 5.5 + 4.5 * rng.random(), "conifer": 6.0 + 6.0 * rng.random(), "bush": 1.2 + 1.2 * rng.random()}[
        kind
    ]
    spread = height * {"crown": 0.42, "conifer": 0.26, "bush": 0.75}[kind] * (0.85 + 0.3 * float(rng.random()))
    leaves = 2 if kind == "conifer" else int(rng.choice((0, 1, 3)))
    return Tree(side=side, away=away, height=float(height), spread=float(spread), kind=kind, leaves=leaves)
