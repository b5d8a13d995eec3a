"""The classes of the generated scenes."""

from atrous.labels import Labels

__all__ = ["CAR", "FIELD", "HOUSE", "POLE", "ROAD", "SCENE_LABELS", "SKY", "TREE", "VOID", "WATER"]

# Okabe and Ito's colour-blind safe set (jfly.uni-koeln.de/color), moved so that any two colours are 19 or more apart in
# CIELAB in normal sight and as protan, deutan and tritan eyes see them (matrices of Machado et al. 2009, severity 1).
SCENE_LABELS = Labels(
    names=("sky", "field", "road", "water", "house", "tree", "car", "pole"),
    palette=(
        (120, 200, 245),
        (236, 222, 90),
        (90, 90, 98),
        (0, 84, 178),
        (200, 80, 10),
        (0, 150, 110),
        (230, 90, 170),
        (60, 10, 50),
    ),
)

SKY, FIELD, ROAD, WATER, HOUSE, TREE, CAR, POLE = range(8)
VOID = SCENE_LABELS.ignore_index
