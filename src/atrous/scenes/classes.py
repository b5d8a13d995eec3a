"""The classes of the generated scenes."""

from atrous.labels import Labels

__all__ = ["CAR", "FIELD", "HOUSE", "POLE", "ROAD", "SCENE_LABELS", "SKY", "TREE", "VOID", "WATER"]

# After Okabe and Ito's colour-blind safe set (jfly.uni-koeln.de/color), with grey for roads and wine for poles.
SCENE_LABELS = Labels(
    names=("sky", "field", "road", "water", "house", "tree", "car", "pole"),
    palette=(
        (86, 180, 233),
        (236, 222, 90),
        (138, 138, 148),
        (0, 84, 178),
        (224, 100, 20),
        (0, 150, 110),
        (222, 130, 190),
        (96, 16, 76),
    ),
)

SKY, FIELD, ROAD, WATER, HOUSE, TREE, CAR, POLE = range(8)
VOID = SCENE_LABELS.ignore_index
