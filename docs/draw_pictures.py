"""Draw the pictures of the documentation from a finished demo: `python docs/draw_pictures.py demo`."""

import argparse
from pathlib import Path

import numpy as np

import atrous
from atrous.data.layouts import open_dataset
from atrous.data.loader import read_pair
from atrous.images import write_image
from atrous.overlay import colourise, error_map, side_by_side

SHOWN = (14, 19)


def main() -> None:
    """Write docs/images/demo.png: photo, truth, prediction and errors of two scenes that the model never saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.demo / "scenes")
    model = atrous.load(arguments.demo / "run")
    pictures: list[np.ndarray] = []
    titles: list[str] = []
    for index in SHOWN:
        pixels, mask = read_pair(dataset.splits["test"][index], dataset, model.preprocessing)
        image = model.preprocessing.as_picture(pixels)
        label_map = model.predict(pixels).label_map
        pictures += [
            image,
            colourise(mask, model.labels),
            colourise(label_map, model.labels),
            error_map(label_map, mask, model.labels, image=image),
        ]
        titles += ["image", "truth", "prediction", "errors"]
    out = Path(__file__).parent / "images" / "demo.png"
    out.parent.mkdir(exist_ok=True)
    write_image(out, side_by_side(pictures, titles, columns=4))


if __name__ == "__main__":
    main()
