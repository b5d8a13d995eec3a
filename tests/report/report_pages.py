"""Pages about generated data and a model that needs no network, for the tests of the report."""

from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
from PIL import Image

from atrous.data.samples import Dataset, Sample
from atrous.evaluation import ImageScore, Report
from atrous.labels import Labels
from atrous.metrics import ConfusionMatrix, scores_from_counts
from atrous.preprocessing import Preprocessing
from atrous.report import Page

VOID = 255
HISTORY = [
    {"step": 10 * n, "epoch": 0.5 * n, "loss": 2 / n, "val_loss": 2.5 / n, "val_miou": miou, "rate": 0.01}
    for n, miou in enumerate((0.2, 0.6, 0.5), start=1)
]


class ShiftModel:
    """Predicts what is written in the red channel, a little to the right of where it is."""

    def __init__(self, labels):
        self.labels = labels
        self.name = "shift"
        self.preprocessing = Preprocessing()

    def predict(self, image):
        return SimpleNamespace(label_map=np.roll(image[..., 0], 1, axis=1))


def make_page(folder, *, names=("road", "tree", "car"), images=4, size=(24, 32), labelled=True, stems=None, **more):
    """A page on `images` generated images; class k of the truth is the red value k."""
    labels = Labels(names=tuple(names), ignore_index=VOID if len(names) <= VOID else 65535)
    present = min(3, labels.num_classes)
    rng = np.random.default_rng(5)
    samples = []
    for number in range(images):
        coarse = rng.integers(0, present, (size[0] // 4, size[1] // 4)).astype(np.uint8)
        mask = np.kron(coarse, np.ones((4, 4), np.uint8))
        pixels = np.stack([mask, *rng.integers(0, 255, (2, *mask.shape), dtype=np.uint8)], axis=2)
        stem = stems[number] if stems else f"scene_{number}"
        image, truth = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(pixels).save(image)
        Image.fromarray(mask if labelled else np.full_like(mask, VOID)).save(truth)
        samples.append(Sample(name=stem, image=image, mask=truth, group=stem))
    dataset = Dataset(root=folder, layout="test", labels=labels, splits={"val": tuple(samples)})
    model = ShiftModel(labels)
    report = measure(model, dataset, samples, labelled=labelled)
    return Page(title=more.pop("title", "a run"), report=report, model=model, dataset=dataset, **more)


def measure(model, dataset, samples, *, labelled=True):
    matrix = ConfusionMatrix(model.labels.num_classes, ignore_index=dataset.labels.ignore_index)
    scores = []
    for sample in samples:
        truth = np.asarray(Image.open(sample.mask))
        own = scores_from_counts(matrix.update(model.predict(np.asarray(Image.open(sample.image))).label_map, truth))
        scores.append(ImageScore(sample=sample, miou=own.miou, pixel_accuracy=own.pixel_accuracy))
    return Report(
        labels=model.labels,
        split="val",
        counts=matrix.counts,
        scores=matrix.scores(),
        loss=0.25 if labelled else None,
        images=tuple(scores),
        engine="torch",
        precision="float32",
        fingerprint="0123456789abcdef",
        dataset=dataset,
    )


class Outline(HTMLParser):
    """What a page is made of: tags with their attributes, and the text outside of script and style."""

    def __init__(self, path):
        super().__init__()
        self.tags = []
        self.open = []
        self.words = []
        self.mistakes = []
        self.feed(path.read_text("utf-8"))
        self.close()
        self.mistakes += self.open

    VOID_TAGS = frozenset({"meta", "link", "img", "input", "circle", "line", "path"})

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.VOID_TAGS:
            return
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(f"</{tag}>")

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def find(self, tag, **attributes):
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [found for name, found in self.tags if name == tag and wanted.items() <= found.items()]
