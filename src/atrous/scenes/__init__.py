"""Generated scenes for the demo and for tests: streets and fields with skies, houses, trees, water, cars and poles."""

from atrous.scenes.classes import SCENE_LABELS
from atrous.scenes.scene import draw_scene

__all__ = ["SCENE_LABELS", "draw_scene"]
