"""Light: the hour, the weather, and what they do to a colour."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from atrous.labels import Colour

__all__ = ["Light", "Ramp", "draw_light"]

Ramp = NDArray[np.uint8]  # (256, 1, 3): the colour of each brightness
Tint = tuple[float, float, float]

STOPS = np.array([0, 75, 140, 205, 255])  # brightness of the colours that a ramp is interpolated from
LEFT = np.minimum(np.searchsorted(STOPS, np.arange(256), side="right") - 1, 3)
WEIGHT = ((np.arange(256) - STOPS[LEFT]) / (STOPS[LEFT + 1] - STOPS[LEFT]))[:, None]


@dataclass(frozen=True, kw_only=True)
class Light:
    """How a scene is lit.

    `sun` and `shade` multiply red, green and blue in full light and in shadow. `density` is how much haze covers things
    60 metres away (0-1), `shadow` how much brightness a cast shadow takes (0-255), `side` where the sun stands (-1 is
    left), `reach` the length of a shadow per height, `towards` how much of it falls towards the viewer.
    """

    name: str
    sun: Tint
    shade: Tint
    zenith: Colour
    horizon: Colour
    haze: Colour
    cloud: Colour
    density: float
    shadow: int
    lamps: bool = False
    side: int = 1
    reach: float = 0.8
    towards: float = 0.4

    def ramp(self, low: Sequence[float], high: Sequence[float], *, distance: float = 0.0) -> Ramp:
        """Colours for brightness 0-255: deep shadow, `low` in shade, `high` in the sun, a highlight.

        `distance` in metres mixes in haze.
        """
        return _ramp(self, tuple(low), tuple(high), int(distance / 2) * 2)

    def covered(self, distance: float) -> float:
        """The share of haze over a thing `distance` metres away: 0 near, `density` at 60 m, towards 1 beyond."""
        reach = 60.0 * (1 - self.density) / self.density
        return distance / (distance + reach)


@lru_cache(maxsize=512)
def _ramp(light: Light, low: tuple[float, ...], high: tuple[float, ...], distance: int) -> Ramp:
    dark, bright = np.asarray(low, np.float64), np.asarray(high, np.float64)
    sun, shade = np.asarray(light.sun), np.asarray(light.shade)
    half = (dark + bright) / 2
    stops = np.array([dark * shade * 0.25, dark * shade, half * sun, bright * sun, (bright * 0.55 + 115) * sun])
    covered = light.covered(distance)
    stops += (np.asarray(light.haze, np.float64) - stops) * covered
    table = stops[LEFT] + (stops[LEFT + 1] - stops[LEFT]) * WEIGHT
    return np.clip(table, 0, 255).astype(np.uint8)[:, None]


HOURS: tuple[tuple[float, Light], ...] = (
    (
        0.42,
        Light(
            name="day",
            sun=(1.04, 1.02, 0.96),
            shade=(0.62, 0.68, 0.8),
            zenith=(70, 134, 208),
            horizon=(182, 214, 238),
            haze=(184, 208, 228),
            cloud=(250, 250, 250),
            density=0.16,
            shadow=78,
        ),
    ),
    (
        0.2,
        Light(
            name="dusk",
            sun=(1.08, 0.84, 0.66),
            shade=(0.58, 0.5, 0.64),
            zenith=(84, 88, 146),
            horizon=(250, 184, 128),
            haze=(222, 166, 136),
            cloud=(244, 164, 132),
            density=0.2,
            shadow=70,
            lamps=True,
            reach=1.6,
        ),
    ),
    (
        0.2,
        Light(
            name="haze",
            sun=(0.96, 0.96, 0.94),
            shade=(0.74, 0.77, 0.8),
            zenith=(168, 188, 204),
            horizon=(222, 226, 226),
            haze=(212, 218, 220),
            cloud=(232, 234, 234),
            density=0.4,
            shadow=36,
        ),
    ),
    (
        0.18,
        Light(
            name="overcast",
            sun=(0.93, 0.96, 0.98),
            shade=(0.66, 0.71, 0.78),
            zenith=(146, 158, 172),
            horizon=(200, 206, 210),
            haze=(190, 198, 204),
            cloud=(218, 222, 226),
            density=0.22,
            shadow=22,
        ),
    ),
)


def draw_light(rng: np.random.Generator) -> Light:
    """An hour and a weather with a random position of the sun and small shifts of colour."""
    pick, chosen = float(rng.random()), HOURS[0][1]
    for share, light in HOURS:
        chosen = light
        pick -= share
        if pick < 0:
            break
    shift = rng.integers(-14, 15, 3)

    def moved(colour: Colour) -> Colour:
        red, green, blue = (int(np.clip(channel + step, 0, 255)) for channel, step in zip(colour, shift, strict=True))
        return red, green, blue

    exposure = 0.92 + 0.16 * float(rng.random())
    red, green, blue = (channel * exposure for channel in chosen.sun)
    return replace(
        chosen,
        sun=(red, green, blue),
        zenith=moved(chosen.zenith),
        horizon=moved(chosen.horizon),
        density=chosen.density * (0.7 + 0.6 * float(rng.random())),
        side=-1 if rng.random() < 0.5 else 1,
        reach=chosen.reach * (0.7 + 0.7 * float(rng.random())),
        towards=0.1 + 0.5 * float(rng.random()),
    )
