"""What things stand on and before: sky, far hills and woods, fields, a road, water."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atrous.scenes.canvas import Camera, Canvas, Point, ring
from atrous.scenes.classes import FIELD, ROAD, SKY, TREE, WATER
from atrous.scenes.textures import Field, clip, crop, darken, noise, profile

__all__ = ["Road", "paint_ground", "paint_sky", "paint_woods", "plan_road", "plan_water"]

FIELDS = (  # in shade, in the sun: meadow, young corn, hay, ripe wheat
    ((52, 84, 30), (128, 164, 62)),
    ((60, 96, 40), (150, 180, 76)),
    ((96, 98, 44), (178, 172, 86)),
    ((130, 106, 48), (216, 184, 98)),
)


@dataclass(frozen=True, kw_only=True)
class Road:
    """A road over the ground.

    It lies `side` metres right of the viewer and runs away with a `bend`, or crosses at `across` metres, tilted.
    `width` in metres; `bend` in pixels times pixels per metre, so that the road leaves its line only far away.
    """

    side: float
    width: float
    bend: float
    across: float | None
    slope: float

    def middle(self, camera: Camera, away: float) -> float:
        """Metres right of the viewer's axis at which the middle of a road that runs away lies."""
        scale = camera.scale(away)
        return self.side + self.bend / (scale * scale)

    def outline(self, camera: Camera, *, low: float = -1.0, high: float = 1.0) -> list[Point]:
        """The road's polygon between two lanes' borders: -1 is its left or far edge, 1 its right or near one."""
        if self.across is not None:
            ends = (-camera.width * 0.05, camera.width * 1.05)
            edges: list[Point] = []
            for border, order in ((low, ends), (high, ends[::-1])):
                row = camera.horizon + camera.focal * camera.eye / (self.across - border * self.width / 2)
                edges += [(x, row + self.slope * (x - camera.width / 2)) for x in order]
            return edges
        left: list[Point] = []
        right: list[Point] = []
        for step in range(25):
            part = step / 24
            row = camera.horizon + 2 + (camera.height * 1.02 - camera.horizon - 2) * part * part
            away = camera.away(row)
            middle = self.middle(camera, away)
            left.append((camera.point(middle + low * self.width / 2, 0, away)[0], row))
            right.append((camera.point(middle + high * self.width / 2, 0, away)[0], row))
        return left + right[::-1]


def plan_road(camera: Camera, rng: np.random.Generator) -> Road:
    """A road that runs to the horizon (two of three scenes) or crosses the picture."""
    unit = camera.height / 384
    if rng.random() < 0.66:
        side = (2.0 + 2.5 * float(rng.random())) * (-1 if rng.random() < 0.5 else 1)
        bend = float(rng.integers(-160, 161)) * unit
        return Road(side=side, width=5.0 + 1.6 * float(rng.random()), bend=bend, across=None, slope=0.0)
    across = 13.0 + 12.0 * float(rng.random())
    slope = (float(rng.random()) - 0.5) * 0.12
    return Road(side=0.0, width=6.0 + 2.0 * float(rng.random()), bend=0.0, across=across, slope=slope)


def plan_water(camera: Camera, road: Road, rng: np.random.Generator) -> list[Point]:
    """The outline of a lake beside the road, or of a wide water before the horizon."""
    ground = camera.height - camera.horizon
    if rng.random() < 0.45:  # a wide lake far away, open to one side or to both
        top = camera.horizon + ground * (0.02 + 0.03 * float(rng.random()))
        depth = ground * (0.12 + 0.12 * float(rng.random()))
        x = camera.width * (0.1 + 0.8 * float(rng.random()))
        return _wobbly(ring(x, top + depth / 2, camera.width * (0.45 + 0.4 * float(rng.random())), depth / 2), 0.1, rng)
    beside = -1.0 if road.side > 0 else 1.0
    if road.across is not None:
        beside = -1.0 if rng.random() < 0.5 else 1.0
    x = camera.width * (0.5 + beside * (0.26 + 0.2 * float(rng.random())))
    y = camera.horizon + ground * (0.3 + 0.45 * float(rng.random()))
    radius_x = camera.width * (0.22 + 0.16 * float(rng.random()))
    return _wobbly(ring(x, y, radius_x, ground * (0.12 + 0.1 * float(rng.random()))), 0.25, rng)


def _wobbly(points: Sequence[Point], strength: float, rng: np.random.Generator) -> list[Point]:
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    pushes = rng.random(len(points))
    pushes = 1 + strength * (pushes + np.roll(pushes, 1) + np.roll(pushes, 2) - 1.5)
    return [(x + (a - x) * float(push), y + (b - y) * float(push)) for (a, b), push in zip(points, pushes, strict=True)]


def paint_sky(canvas: Canvas) -> None:
    """A gradient from zenith to horizon, with clouds that grow smaller and flatter towards the horizon."""
    camera, light, rng = canvas.camera, canvas.light, canvas.rng
    canvas.begin(SKY)
    rows, width = int(camera.horizon) // 2 + 2, camera.width // 2  # as smooth as it is, half the size is enough
    down = (np.arange(rows, dtype=np.float32) / np.float32(rows))[:, None, None]
    zenith, horizon = np.asarray(light.zenith, np.float32), np.asarray(light.horizon, np.float32)
    colours = zenith + (horizon - zenith) * down * (2 - down)
    cover = crop(noise(canvas.grain(48), stretch=2, octaves=5), rows, width, rng).astype(np.float32)
    least = np.float32({"day": 130, "dusk": 125, "haze": 150, "overcast": 90}[light.name] + 30 * rng.random())
    alpha = np.clip((cover - least) * np.float32(1 / 60), 0, 0.85) * (np.float32(1.0) - down[..., 0] * np.float32(0.6))
    colours = colours + (np.asarray(light.cloud, np.float32) - colours) * alpha[..., None]
    if light.name == "dusk":  # the sun's glow
        x = width * (0.5 + 0.35 * light.side)
        across = (np.arange(width, dtype=np.float32) - np.float32(x)) / np.float32(width * 0.3)
        below = (np.arange(rows, dtype=np.float32) - np.float32(rows)) / np.float32(rows * 0.6)
        glow = np.float32(0.75) / (1 + across * across + (below * below)[:, None] * np.float32(1.6))
        colours = colours + (np.asarray((255, 226, 158), np.float32) - colours) * glow[..., None]
    canvas.image[: rows * 2] = clip(colours).repeat(2, axis=0).repeat(2, axis=1)
    canvas.things[: rows * 2] = canvas.count


def _ridge(canvas: Canvas, height: float, cell: int, *, least: float, crowns: int = 0) -> tuple[int, NDArray[np.bool_]]:
    """The first row and the shape (h, W) of a hill line above the horizon, `height` pixels high at most.

    Where `least` is negative the line dips below the horizon, so that gaps open. `crowns` makes the line ragged.
    """
    camera = canvas.camera
    bottom = int(camera.horizon) + 4
    top = max(0, bottom - int(height) - 4)
    line = bottom - 4 - height * (least + (1 - least) * profile(camera.width, cell, canvas.rng))
    if crowns:
        line += profile(camera.width, canvas.grain(crowns), canvas.rng) * canvas.grain(crowns)
    return top, np.arange(top, bottom)[:, None] >= line[None]


def paint_woods(canvas: Canvas) -> None:
    """Far hills (fields in the haze), and a ragged line of far woods before them."""
    camera, light, rng = canvas.camera, canvas.light, canvas.rng
    sky = camera.horizon
    if rng.random() < 0.75:
        canvas.begin(FIELD)
        top, shape = _ridge(canvas, sky * (0.1 + 0.22 * float(rng.random())), camera.width // 4, least=0.15)
        low, high = FIELDS[int(rng.integers(0, 2))]
        texture = crop(noise(canvas.grain(24), stretch=3, octaves=2), shape.shape[0], shape.shape[1], rng) // 3 + 90
        box = (top, 0, top + shape.shape[0], camera.width)
        canvas.stamp(box, shape, texture, light.ramp(low, high, distance=90))
    canvas.begin(TREE)
    top, shape = _ridge(canvas, sky * (0.06 + 0.12 * float(rng.random())), camera.width // 6, least=-0.5, crowns=9)
    leaves = crop(noise(canvas.grain(12), octaves=3), shape.shape[0], shape.shape[1], rng)
    low, high = (20, 46, 26), (62, 104, 48)
    box = (top, 0, top + shape.shape[0], camera.width)
    ramp = light.ramp(low, high, distance=45 + 20 * float(rng.random()))
    canvas.stamp(box, shape, leaves // 4 * 3 + 20, ramp)


def _seen_from_above(canvas: Canvas, tile: Field, metres: float) -> Field:
    """A tile laid on the ground, (rows below the horizon, W): one pixel of it covers `metres` metres."""
    camera = canvas.camera
    first = int(camera.horizon) + 1
    rows = np.arange(first, camera.height, dtype=np.float64)
    away = np.minimum(camera.focal * camera.eye / (rows - camera.horizon), 400.0)
    along = (away / metres).astype(np.intp) % tile.shape[0]
    columns = np.arange(camera.width, dtype=np.float64) - camera.centre
    sideways = (columns[None] * (away / (camera.focal * metres))[:, None]).astype(np.int32) & (tile.shape[1] - 1)
    start = int(canvas.rng.integers(0, tile.shape[0]))
    return tile[(along[:, None] + start) % tile.shape[0], sideways]


def paint_ground(canvas: Canvas, road: Road, water: Sequence[Point] | None, shadows: Field) -> None:
    """Fields, then water, then the road, each darker where `shadows` (H, W) falls."""
    camera, light, rng = canvas.camera, canvas.light, canvas.rng
    first = int(camera.horizon) + 1
    box = (first, 0, camera.height, camera.width)
    rows, width = camera.height - first, camera.width
    canvas.begin(FIELD)
    low, high = FIELDS[int(rng.choice(4, p=(0.38, 0.3, 0.16, 0.16)))]
    fine = crop(noise(canvas.grain(4), stretch=1, octaves=2), rows, width, rng)
    texture = 70 + _seen_from_above(canvas, noise(32, octaves=3), 0.06) // 3 + fine // 4
    shade = shadows[first:]
    canvas.stamp(box, np.ones((rows, width), np.bool_), darken(texture, shade), light.ramp(low, high))
    verge = road.outline(camera, low=-1.1, high=1.1)
    canvas.polygon(verge, light.ramp((92, 84, 62), (158, 146, 116)), brightness=135)
    if water is not None:
        _paint_water(canvas, water, shade, first)
    _paint_road(canvas, road, shade, first)
    _paint_haze(canvas, first)


def _paint_water(canvas: Canvas, outline: Sequence[Point], shade: Field, first: int) -> None:
    light, rng = canvas.light, canvas.rng
    sand = light.ramp((120, 104, 74), (196, 178, 136))
    x, y = (sum(values) / len(outline) for values in zip(*outline, strict=True))
    shore = [(x + (a - x) * 1.05, y + (b - y) * 1.08 + 1) for a, b in outline]
    canvas.polygon([(a, max(b, first)) for a, b in shore], sand, brightness=130)
    canvas.begin(WATER)
    kept = [(a, max(b, first + 1.0)) for a, b in outline]
    box = canvas.clip(kept)
    if box is None:
        return
    ripples = crop(noise(canvas.grain(6), stretch=5, octaves=2), box[2] - box[0], box[3] - box[1], rng)
    down = np.linspace(46, 0, box[2] - box[0]).astype(np.uint8)[:, None]
    dark = shade[box[0] - first : box[2] - first, box[1] : box[3]] // 2
    texture = darken(ripples // 2 + 62 + down, dark)
    sky = np.asarray(light.horizon, np.float64) * 0.4 + np.asarray(light.zenith, np.float64) * 0.6
    low = np.asarray((20, 64, 104)) * 0.8 + sky * 0.1
    high = np.asarray((60, 128, 180)) * 0.62 + sky * 0.4
    red, green, blue = light.sun  # water takes less of the sun's colour than the land does
    calm = replace(light, sun=((red + 3) / 4, (green + 3) / 4, (blue + 3) / 4))
    canvas.polygon(kept, calm.ramp(low.tolist(), high.tolist()), brightness=texture)


def _paint_road(canvas: Canvas, road: Road, shade: Field, first: int) -> None:
    camera, light, rng = canvas.camera, canvas.light, canvas.rng
    canvas.begin(ROAD)
    outline = road.outline(camera)
    box = canvas.clip(outline)
    if box is None:
        return
    grey = np.asarray((74, 74, 80)) + int(rng.integers(-8, 14))
    asphalt = crop(noise(canvas.grain(3), octaves=1), box[2] - box[0], box[3] - box[1], rng) // 5
    patches = crop(noise(canvas.grain(48), stretch=2, octaves=2), asphalt.shape[0], asphalt.shape[1], rng) // 7
    top = max(box[0], first)
    texture = asphalt + patches + 105
    texture[top - box[0] :] = darken(texture[top - box[0] :], shade[top - first : box[2] - first, box[1] : box[3]])
    canvas.polygon(outline, light.ramp(grey.tolist(), (grey * 1.75).tolist()), brightness=texture)
    white = light.ramp((150, 148, 140), (226, 224, 214))
    for edge in (-0.9, 0.86):
        canvas.polygon(road.outline(camera, low=edge, high=edge + 0.045), white, brightness=140)
    _paint_dashes(canvas, road, white)


def _paint_dashes(canvas: Canvas, road: Road, white: NDArray[np.uint8]) -> None:
    """The broken line in the middle: 2 metres on, 4 off."""
    camera = canvas.camera
    half = 0.1
    if road.across is not None:
        row = camera.horizon + camera.focal * camera.eye / road.across
        scale = camera.scale(road.across)
        for step in range(-12, 13):
            x = camera.width / 2 + step * 6 * scale
            y, thick = row + road.slope * (x - camera.width / 2), max(1.0, half * scale * camera.eye / road.across * 2)
            dash = [(x, y), (x + 2 * scale, y + road.slope * 2 * scale)]
            canvas.polygon([*dash, *((a, b + thick) for a, b in dash[::-1])], white, brightness=140)
        return
    for step in range(12):
        near, far = 3.0 + step * 6, 5.0 + step * 6
        corners: list[Point] = []
        for away, sides in ((near, (-half, half)), (far, (half, -half))):
            middle = road.middle(camera, away)
            corners += [camera.point(middle + offset, 0, away) for offset in sides]
        canvas.polygon(corners, white, brightness=140)


def _paint_haze(canvas: Canvas, first: int) -> None:
    """Let the far ground fade into the haze, row by row."""
    camera, light = canvas.camera, canvas.light
    last = min(camera.height, first + int((camera.height - first) * 0.4))
    covered = [light.covered(max(0.0, camera.away(row + 0.5) - 8)) for row in range(first, last)]
    share = np.asarray(covered, np.float32)[:, None, None]
    part = canvas.image[first:last].astype(np.float32)
    canvas.image[first:last] = clip(part + (np.asarray(light.haze, np.float32) - part) * share)
