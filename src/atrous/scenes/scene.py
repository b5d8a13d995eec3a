"""A whole scene: where things stand, what shadows they cast, and how the picture is finished."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError
from atrous.scenes.canvas import Camera, Canvas, Point
from atrous.scenes.cars import PAINTS, Car, draw_car
from atrous.scenes.classes import VOID
from atrous.scenes.ground import Road, paint_ground, paint_sky, paint_woods, plan_road, plan_water
from atrous.scenes.houses import House, draw_house
from atrous.scenes.light import draw_light
from atrous.scenes.poles import Pole
from atrous.scenes.textures import clip
from atrous.scenes.trees import Tree, draw_tree

__all__ = ["draw_scene"]

Thing = House | Tree | Car | Pole

LEAST_SIDE = 32  # pixels; below it a scene shows nothing


def draw_scene(*, seed: int, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A generated street or country scene and its mask.

    The same seed and size give the same bytes on every machine. Everything is painted at twice the size and averaged
    down. A pixel whose neighbourhood holds two things is void: a border one pixel wide, as VOC draws them.

    Args:
        seed: Which scene, 0 or more.
        size: (height, width) in pixels, 32 or more each.

    Returns:
        The image (H, W, 3) uint8 in red, green, blue, and the mask (H, W) uint8 with ids of `SCENE_LABELS` or 255.

    Raises:
        ConfigError: `seed` is negative or a side of `size` is under 32.
    """
    height, width = size
    if seed < 0 or min(size) < LEAST_SIDE:
        raise ConfigError(
            f"draw_scene(seed={seed}, size={height}x{width}): expected a seed of 0 or more and at least "
            f"{LEAST_SIDE} pixels each way. Choose a larger size, for example 192x256."
        )
    rng = np.random.default_rng(seed)
    light = draw_light(rng)
    camera = _draw_camera(height * 2, width * 2, rng)
    canvas = Canvas(camera=camera, light=light, rng=rng, unit=height / 192)
    road = plan_road(camera, rng)
    water = plan_water(camera, road, rng) if rng.random() < 0.88 else None
    things = _place_things(_Plan(camera=camera, road=road, water=water, rng=rng))
    shadows = _cast_shadows(canvas, things)
    paint_sky(canvas)
    paint_woods(canvas)
    paint_ground(canvas, road, water, shadows)
    for thing in sorted(things, key=lambda thing: -thing.away):
        thing.paint(canvas)
    return _finish(canvas), _mask(canvas)


def _draw_camera(height: int, width: int, rng: np.random.Generator) -> Camera:
    return Camera(
        height=height,
        width=width,
        horizon=height * (0.34 + 0.14 * float(rng.random())),
        centre=width * (0.35 + 0.3 * float(rng.random())),
        eye=3.0 + 2.0 * float(rng.random()),
        focal=height * (1.2 + 0.3 * float(rng.random())),
    )


@dataclass(kw_only=True)
class _Plan:
    """What decides where a thing may stand."""

    camera: Camera
    road: Road
    water: list[Point] | None
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.wet = np.zeros((self.camera.height, self.camera.width), np.uint8)
        if self.water is not None:
            cv2.fillPoly(self.wet, [np.array([[int(x), int(y)] for x, y in self.water], np.int32)], 1)

    def clear(self, left: float, right: float, away: float, *, gap: float = 0.8) -> bool:
        """Whether ground from `left` to `right` at `away` metres is neither road nor water."""
        if self.road.across is not None:
            middle = self.road.across
            if abs(away - middle) < self.road.width / 2 + gap + 0.1 * middle:
                return False
        else:
            middle, half = self.road.middle(self.camera, away), self.road.width / 2 + gap
            if left < middle + half and right > middle - half:
                return False
        for side in (left, (left + right) / 2, right):
            x, y = self.camera.point(side, 0, away)
            if 0 <= x < self.camera.width and 0 <= y < self.camera.height and self.wet[int(y), int(x)]:
                return False
        return True

    def spot(self, near: float, far: float) -> tuple[float, float]:
        """A random place in sight between two distances, even over the rows of the picture rather than over metres."""
        away = 1 / (1 / far + (1 / near - 1 / far) * float(self.rng.random()))
        x = self.camera.width * (1.1 * float(self.rng.random()) - 0.05)
        return (x - self.camera.centre) / self.camera.scale(away), away


def _place_things(plan: _Plan) -> list[Thing]:
    houses = _place_houses(plan)
    return [*houses, *_place_trees(plan, houses), *_place_cars(plan), *_place_poles(plan)]


def _place_houses(plan: _Plan) -> list[House]:
    houses: list[House] = []
    wanted = int(plan.rng.integers(2, 6))
    for _ in range(30):
        side, away = plan.spot(20, 48)
        house = draw_house(side, away, plan.rng)
        right, back = house.left + house.width, house.away + house.depth
        free = all(
            right + 1.5 < other.left
            or other.left + other.width + 1.5 < house.left
            or back + 3 < other.away
            or other.away + other.depth + 3 < house.away
            for other in houses
        )
        if free and all(plan.clear(house.left, right, at, gap=2.5) for at in (away, away + house.depth / 2, back)):
            houses.append(house)
        if len(houses) == wanted:
            break
    return houses


def _place_trees(plan: _Plan, houses: list[House]) -> list[Tree]:
    trees: list[Tree] = []
    wanted = int(plan.rng.integers(4, 10))
    for _ in range(30):
        side, away = plan.spot(11, 70)
        tree = draw_tree(side, away, plan.rng)
        inside = any(
            house.left - 1 < side < house.left + house.width + 1
            and house.away - 1.5 < away < house.away + house.depth + 1
            for house in houses
        )
        # A near crown in the middle would hide the scene: near trees stand at the border.
        x = plan.camera.point(side, 0, away)[0] / plan.camera.width
        near = away < 16 and tree.kind != "bush"
        hides = near and (0.15 < x < 0.85 or any(other.away < 16 for other in trees))
        if not inside and not hides and plan.clear(side - 0.7, side + 0.7, away):
            trees.append(tree)
        if len(trees) == wanted:
            break
    return trees


def _place_cars(plan: _Plan) -> list[Car]:
    rng, road = plan.rng, plan.road
    cars: list[Car] = []
    for number in range(int(rng.integers(1, 5))):
        kind = {"body": int(rng.integers(0, 3)), "paint_index": int(rng.integers(0, len(PAINTS)))}
        if road.across is not None:
            lane = -1 if rng.random() < 0.5 else 1
            away = road.across + lane * road.width * 0.22
            x = plan.camera.width * (0.08 + 0.84 * float(rng.random()))
            side = (x - plan.camera.centre) / plan.camera.scale(away)
            # A sloping road: the ground is flat, so the car moves nearer or farther with it.
            row = plan.camera.point(side, 0, away)[1] + road.slope * (x - plan.camera.width / 2)
            away = plan.camera.away(row)
            side = (x - plan.camera.centre) / plan.camera.scale(away)
            cars.append(draw_car(side, away, "left" if lane > 0 else "right", **kind))
        else:
            away = 9.0 + number * 8 + 7 * float(rng.random())
            lane = -1 if rng.random() < 0.5 else 1
            side = road.middle(plan.camera, away) + lane * road.width * 0.25
            cars.append(draw_car(side, away, "back" if lane > 0 else "front", **kind))
    if rng.random() < 0.5:  # one parked in the grass
        side, away = plan.spot(11, 24)
        if plan.clear(side - 2.4, side + 2.4, away):
            facing = "left" if rng.random() < 0.5 else "right"
            cars.append(
                draw_car(
                    side, away, facing, body=int(rng.integers(0, 3)), paint_index=int(rng.integers(0, len(PAINTS)))
                )
            )
    return [car for index, car in enumerate(cars) if all(_apart(car, other) for other in cars[:index])]


def _apart(car: Car, other: Car) -> bool:
    return abs(car.side - other.side) > (car.length + other.length) / 2 + 0.4 or abs(car.away - other.away) > 2.2


def _place_poles(plan: _Plan) -> list[Pole]:
    rng, road, poles = plan.rng, plan.road, list[Pole]()
    kind = "lamp" if rng.random() < 0.6 else "wood"
    arm = -1 if rng.random() < 0.5 else 1
    pitch, start = 9.0 + 4 * float(rng.random()), 9.0 + 4 * float(rng.random())
    places: list[tuple[float, float]] = []
    for number in range(4):
        if road.across is not None:
            away = road.across + road.width / 2 + 1.6
            side = (-1.5 + number + 0.4 * start / 10) * pitch
        else:
            away = start + number * pitch
            side = road.middle(plan.camera, away) - arm * (road.width / 2 + 1.0)
        places.append((side, away))
    for number, (side, away) in enumerate(places):
        following = places[number + 1] if kind == "wood" and number + 1 < len(places) else None
        poles.append(Pole(side=side, away=away, kind=kind, arm=arm, next_pole=following))
    if rng.random() < 0.6:
        side, away = plan.spot(8, 16)
        if plan.clear(side - 0.4, side + 0.4, away, gap=0.4):
            poles.append(Pole(side=side, away=away, kind="sign", board=int(rng.integers(0, 3))))
    if rng.random() < 0.4:
        poles += _place_fence(plan)
    return poles


def _place_fence(plan: _Plan) -> list[Pole]:
    """Posts with two wires that cross a field."""
    side, away = plan.spot(9, 15)
    step = 2.4 if plan.rng.random() < 0.5 else -2.4
    lean = 0.6 * float(plan.rng.random())
    places = [(side + step * number, away + lean * number) for number in range(6)]
    places = [place for place in places if plan.clear(place[0] - 0.2, place[0] + 0.2, place[1])]
    following = [*places[1:], None] if places else []
    return [
        Pole(side=x, away=z, kind="post", next_pole=after if after and abs(after[0] - x) < 3 else None)
        for (x, z), after in zip(places, following, strict=True)
    ]


def _cast_shadows(canvas: Canvas, things: list[Thing]) -> NDArray[np.uint8]:
    """How much brightness (H, W) the shadows of things take from the ground."""
    camera, light = canvas.camera, canvas.light
    shadows = np.zeros((camera.height, camera.width), np.uint8)
    for thing in things:
        foot, height = thing.shadow()
        reach = height * light.reach
        top = [(side - light.side * reach, max(2.0, away - light.towards * reach)) for side, away in foot]
        points = np.array([_whole(camera.point(side, 0, away)) for side, away in [*foot, *top]], np.int32)
        cv2.fillConvexPoly(shadows, cv2.convexHull(points), light.shadow)
        under = np.array([_whole(camera.point(side, 0, away)) for side, away in foot], np.int32)
        if isinstance(thing, Car):  # darkest below a car
            cv2.fillConvexPoly(shadows, cv2.convexHull(under), max(60, light.shadow))
    side = 2 * canvas.grain(4 if light.shadow > 50 else 9) + 1
    return np.asarray(cv2.blur(shadows, (side, side)), np.uint8)


def _whole(point: Point) -> tuple[int, int]:
    return int(point[0] + 0.5), int(point[1] + 0.5)


def _finish(canvas: Canvas) -> NDArray[np.uint8]:
    """Average down, then what a lens and a sensor add: slight blur, darker corners, noise."""
    rng, camera = canvas.rng, canvas.camera
    height, width = camera.height // 2, camera.width // 2
    image = cv2.resize(canvas.image, (width, height), interpolation=cv2.INTER_AREA)
    soft = np.float32(max(0.0, 0.7 * float(rng.random()) - 0.25))
    picture = image + (cv2.blur(image, (3, 3)).astype(np.float32) - image) * soft
    y = (np.arange(height, dtype=np.float32) * 2 - np.float32(height - 1)) / np.float32(height)
    x = (np.arange(width, dtype=np.float32) * 2 - np.float32(width - 1)) / np.float32(width)
    dark = np.float32(0.08 + 0.1 * float(rng.random()))
    gain = 1 - dark * ((y * y)[:, None] + x * x) * np.float32(0.6)
    grain = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    sensor = (grain[0].astype(np.float32) + grain[1] - 255) * np.float32((1.0 + 2.5 * float(rng.random())) / 128)
    return clip(picture * gain[..., None] + sensor)


def _mask(canvas: Canvas) -> NDArray[np.uint8]:
    """Every second class, and void where a pixel's 3x3 canvas pixels hold more than one thing."""
    things = canvas.things
    mask = np.array(canvas.labels, np.uint8)[things[::2, ::2]]
    padded = np.pad(things, ((0, 1), (0, 1)), mode="edge")
    first = padded[:-1:2, :-1:2]
    border = np.zeros(mask.shape, np.bool_)
    for down in range(3):
        for right in range(3):
            if down or right:
                border |= padded[down::2, right::2][: mask.shape[0], : mask.shape[1]] != first
    mask[border] = VOID
    return mask
