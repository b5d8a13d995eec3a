"""Several views of an image, at other scales and mirrored, averaged: equal to the plain computation at full size."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import atrous as library
from atrous.engines import Coarse, confidence, label_map, probabilities, thresholded
from atrous.evaluation import Views
from atrous.preprocessing import Preprocessing
from random_weights import randomise
from tiny_network import tiny

SIZE = (61, 83)
SURE = 1e-4  # where the two best classes are further apart than this, the label must be the best
VIEWS = [
    ((1.0,), False),
    ((1.0,), True),
    ((0.5,), False),
    ((0.5, 1.0, 1.5), False),
    ((0.75, 1.0, 1.25), True),
    ((2.0, 0.3), True),
]


@pytest.fixture
def image():
    """Smooth, with edges, and with another left than right side."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=0).repeat(8, axis=1)[: SIZE[0], : SIZE[1]])


def model_of(**options):
    torch.manual_seed(0)
    return library.Model(randomise(tiny(5), seed=2), device="cpu", **options)


def plain_probabilities(model, image, scales, flip):
    """Every view's scores at full size, their softmax, and its mean, as the v3 paper has it (section 4.1)."""
    size, preprocessing = image.shape[:2], model.preprocessing
    shares = []
    for scale in scales:
        for mirrored in (False, True) if flip else (False,):
            seen = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
            height, width = (max(1, round(side * scale)) for side in size)
            tensor = torch.from_numpy(seen).permute(2, 0, 1)[None]
            if (height, width) != size:
                tensor = functional.interpolate(tensor, size=(height, width), mode="bilinear", antialias=True)
            normalised = preprocessing.normalise(tensor[0].permute(1, 2, 0).contiguous().numpy())
            with torch.inference_mode():
                logits = model.network.coarse_logits(torch.from_numpy(normalised).permute(2, 0, 1)[None])
            whole = functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].softmax(dim=0)
            shares.append((whole.flip(2) if mirrored else whole).numpy())
    return np.mean(shares, axis=0)


def assert_best(labels, shares):
    """The labels are the best classes, where one is clearly the best; there is more than one class."""
    second, first = np.sort(shares, axis=0)[-2:]
    sure = first - second > SURE
    assert sure.mean() > 0.98
    assert np.array_equal(labels[sure], shares.argmax(axis=0)[sure])
    assert len(np.unique(labels)) > 1


@pytest.mark.parametrize("engine", ["torch", "plain"])
@pytest.mark.parametrize(("scales", "flip"), VIEWS)
def test_predictions_are_the_plain_means(image, scales, flip, engine):
    model = model_of(engine=engine)
    expected = plain_probabilities(model, image, scales, flip)
    prediction = model.predict(image, scales=scales, flip=flip)
    assert_best(prediction.label_map, expected)
    np.testing.assert_allclose(prediction.scores, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(prediction.confidence, expected.max(axis=0), rtol=0, atol=1e-4)
    assert prediction.label_map.shape == prediction.confidence.shape == SIZE
    assert prediction.label_map.dtype == np.uint8


def test_every_view_counts(image):
    model = model_of()
    results = [model.predict(image, scales=scales, flip=flip).scores for scales, flip in VIEWS]
    assert all(np.abs(a - b).max() > 0.01 for i, a in enumerate(results) for b in results[:i])


def test_one_view_is_the_usual_prediction(image):
    model = model_of()
    usual, one = model.predict(image), model.predict(image, scales=(1.0,), flip=False)
    assert np.array_equal(usual.label_map, one.label_map)
    assert np.array_equal(usual.scores, one.scores)
    assert len(model.views(image)) == 1


def test_views_tell_how_they_lie_over_the_image(image):
    model = model_of(preprocessing=Preprocessing(pad_to=16))
    views = model.views(image, scales=(1.0, 0.5), flip=True)
    assert [view.mirrored for view in views] == [False, True, False, True]
    assert [view.cover for view in views] == [(61 / 64, 83 / 96)] * 2 + [(30 / 32, 42 / 48)] * 2  # 30.5 becomes 30
    assert [tuple(view.logits.shape[2:]) for view in views] == [(8, 12)] * 2 + [(4, 6)] * 2


class Symmetric(nn.Module):
    """What it says of a mirrored image is what it says of the image, mirrored."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        with torch.no_grad():
            self.conv.weight.add_(self.conv.weight.flip(3).clone())

    def forward(self, image):
        return self.conv(image)


@pytest.mark.parametrize("width", [40, 41])
def test_for_a_symmetric_network_the_mirrored_view_changes_nothing(image, width):
    torch.manual_seed(1)
    model = library.Model(Symmetric(), device="cpu")
    seen = np.ascontiguousarray(image[:, :width])
    usual, both = model.predict(seen), model.predict(seen, flip=True)
    np.testing.assert_allclose(both.scores, usual.scores, rtol=0, atol=1e-6)
    assert_best(both.label_map, usual.scores)
    single, mirrored = model.views(seen, flip=True)
    torch.testing.assert_close(mirrored.logits.flip(3), single.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pad_to", [1, 16])
def test_mirroring_the_image_mirrors_an_averaged_prediction(image, pad_to):
    model = model_of(preprocessing=Preprocessing(pad_to=pad_to))
    forward = model.predict(image, scales=(1.0, 0.5), flip=True).scores
    backward = model.predict(np.ascontiguousarray(image[:, ::-1]), scales=(1.0, 0.5), flip=True).scores
    np.testing.assert_allclose(forward, backward[:, :, ::-1], rtol=0, atol=1e-6)


def coarse(seed, size, *, mirrored=False, cover=(1.0, 1.0), classes=5):
    logits = 3 * torch.randn(1, classes, *size, generator=torch.Generator().manual_seed(seed))
    return Coarse(logits, cover, mirrored)


def resized(view):
    """Scores of a view at full size, mirrored back: the whole map is enlarged, and what the image fills is kept."""
    whole = [round(side / share) for side, share in zip(SIZE, view.cover, strict=True)]
    scores = functional.interpolate(view.logits, size=whole, mode="bilinear", align_corners=False)
    scores = scores[0, :, : SIZE[0], : SIZE[1]].softmax(dim=0)
    return (scores.flip(2) if view.mirrored else scores).numpy()


class TestAnswers:
    """Labels, probabilities and confidence of coarse logits."""

    SINGLE = coarse(1, (8, 11))
    SEVERAL = (
        coarse(1, (8, 11)),
        coarse(2, (8, 11), mirrored=True),
        coarse(3, (16, 21), mirrored=True),
        coarse(4, (10, 12), cover=(61 / 80, 83 / 96)),
        coarse(5, (10, 12), cover=(61 / 80, 83 / 96), mirrored=True),
    )

    def test_one_view(self):
        expected = resized(self.SINGLE)
        np.testing.assert_allclose(probabilities((self.SINGLE,), SIZE), expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(confidence((self.SINGLE,), SIZE), expected.max(axis=0), rtol=0, atol=2e-5)
        assert_best(label_map((self.SINGLE,), SIZE), expected)

    @pytest.mark.parametrize("view", SEVERAL, ids=range(5))
    def test_one_view_of_any_kind(self, view):
        expected = resized(view)
        np.testing.assert_allclose(probabilities((view,), SIZE), expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(confidence((view,), SIZE), expected.max(axis=0), rtol=0, atol=1e-4)
        assert_best(label_map((view,), SIZE), expected)

    def test_several_views(self):
        expected = np.mean([resized(view) for view in self.SEVERAL], axis=0)
        shares = probabilities(self.SEVERAL, SIZE)
        np.testing.assert_allclose(shares, expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=0, atol=1e-5)
        np.testing.assert_allclose(confidence(self.SEVERAL, SIZE), shares.max(axis=0), rtol=0, atol=1e-5)
        assert_best(label_map(self.SEVERAL, SIZE), expected)

    def test_their_order_does_not_matter(self):
        assert np.array_equal(label_map(self.SEVERAL, SIZE), label_map(self.SEVERAL[::-1], SIZE))

    def test_means_are_of_probabilities_not_of_logits(self):
        """One view is sure of class 0; two lean to class 1."""
        views = [Coarse(torch.tensor([20.0, 0.0, 0.0]).view(1, 3, 1, 1))] + 2 * [
            Coarse(torch.tensor([0.0, 0.1, 0.0]).view(1, 3, 1, 1))
        ]
        assert label_map(views, (2, 2)).tolist() == [[0, 0], [0, 0]]
        doubtful = [Coarse(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))] + 2 * [
            Coarse(torch.tensor([0.0, 30.0, 0.0]).view(1, 3, 1, 1))
        ]
        assert label_map(doubtful, (2, 2)).tolist() == [[1, 1], [1, 1]]

    @pytest.mark.parametrize("limits", [[0.0] * 5, [0.5] * 5, [0.9, 0.1, 0.5, 0.0, 1.0]])
    def test_thresholds(self, limits):
        shares = resized(self.SINGLE)
        least = np.array(limits, np.float32)[:, None, None]
        passing = np.where(shares >= least, shares, -1)
        expected = np.where(passing.max(axis=0) < 0, 255, passing.argmax(axis=0))
        labels = thresholded(self.SINGLE, SIZE, limits, void=255)
        second, first = np.sort(passing, axis=0)[-2:]
        unsure = ((np.abs(shares - least) < SURE) & (least > 0)).any(axis=0)
        unsure |= (first - second < SURE) & (first >= 0)
        assert unsure.mean() < 0.05
        assert np.array_equal(labels[~unsure], expected[~unsure])

    def test_many_classes_are_16_bits(self):
        views = [coarse(seed, (8, 11), classes=300) for seed in (1, 2)]
        assert label_map(views, SIZE).dtype == np.uint16


@pytest.mark.parametrize(
    ("views", "count", "single"),
    [
        (Views(), 1, True),
        (Views(scales=(1,)), 1, True),
        (Views(scales=(0.5,)), 1, False),
        (Views(flip=True), 2, False),
        (Views(scales=(0.5, 1.0, 2.0), flip=True), 6, False),
    ],
)
def test_how_often_the_network_runs(views, count, single):
    assert (views.count, views.is_single) == (count, single)


def test_no_scale_is_refused(image):
    with pytest.raises(ValueError, match="no view to average"):
        model_of().predict(image, scales=())


@pytest.fixture(scope="module")
def model_file(trained, scenes, tmp_path_factory):
    """A network for the scenes' classes with random weights, and no class that is the best everywhere."""
    torch.manual_seed(0)
    network = library.models.deeplabv3plus_mobilenet_v2(8, aspp_channels=8, decoder_channels=8)
    randomise(network, seed=4)
    path = tmp_path_factory.mktemp("models") / "random.safetensors"
    model = library.Model(network, labels=library.load(trained).labels, device="cpu", engine="plain")
    with torch.no_grad():
        picture = np.asarray(Image.open(scenes / "JPEGImages" / "scene_0000.jpg"))
        network.get_parameter("classifier.logits.bias").sub_(model.coarse_logits(picture).logits.mean(dim=(0, 2, 3)))
    model.save(path)
    return path


class TestCommands:
    """`evaluate` and `predict` with --scales and --flip."""

    def test_evaluate(self, atrous, model_file, scenes, tmp_path):
        options = ["--split", "test", "--scales", "0.75,1,1.25", "--flip", "--json", "--out", "scores"]
        code, out, err = atrous("evaluate", model_file, scenes, *options)
        assert code == 0, err
        document = json.loads(out)
        assert json.loads((tmp_path / "scores" / "metrics.json").read_text()) == document
        assert (tmp_path / "scores" / "report.html").is_file()
        assert document["scales"] == [0.75, 1, 1.25]
        assert document["flip"] is True
        assert document["loss"] is None
        assert document["images"] == 2
        assert document["confusion"] == self.confusion(model_file, scenes, scales=(0.75, 1, 1.25), flip=True).tolist()
        assert document["confusion"] != self.confusion(model_file, scenes).tolist()

    @staticmethod
    def confusion(model_file, scenes, **views):
        model = library.load(model_file, device="cpu")
        counts = np.zeros((8, 8), int)
        for name in (scenes / "ImageSets/Segmentation/test.txt").read_text().split():
            predicted = model.predict(scenes / "JPEGImages" / f"{name}.jpg", **views).label_map.astype(int)
            with Image.open(scenes / "SegmentationClass" / f"{name}.png") as picture:
                mask = np.asarray(picture).astype(int)
            valid = mask != 255
            counts += np.bincount(mask[valid] * 8 + predicted[valid], minlength=64).reshape(8, 8)
        return counts

    def test_evaluate_without_them(self, atrous, model_file, scenes):
        code, out, err = atrous("evaluate", model_file, scenes, "--split", "test", "--json")
        assert code == 0, err
        document = json.loads(out)
        assert (document["scales"], document["flip"]) == ([1.0], False)
        assert document["loss"] > 0
        assert document["confusion"] == self.confusion(model_file, scenes).tolist()

    def test_the_table_tells_how_many_views(self, atrous, model_file, scenes):
        code, out, err = atrous("evaluate", model_file, scenes, "--split", "test", "--flip", "--scales", "1,1.5")
        assert code == 0, err
        assert "4 views averaged" in out
        assert "loss -" in out
        code, out, _ = atrous("evaluate", model_file, scenes, "--split", "test")
        assert code == 0
        assert "views averaged" not in out

    def test_predict(self, atrous, model_file, scenes, tmp_path):
        picture = scenes / "JPEGImages" / "scene_0000.jpg"
        options = ["--save", "mask", "--scales", "0.5,1,2", "--flip"]
        code, _, err = atrous("predict", model_file, picture, "--out", "views", *options)
        assert code == 0, err
        expected = library.load(model_file, device="cpu").predict(picture, scales=(0.5, 1, 2), flip=True)
        with Image.open(tmp_path / "views" / "scene_0000.png") as mask:
            assert np.array_equal(np.asarray(mask), expected.label_map)
        assert not np.array_equal(expected.label_map, library.load(model_file, device="cpu").predict(picture).label_map)

    @pytest.mark.parametrize(
        "scales",
        ["0", "-1", "1,0", "0.05", "4.1", "1000000", "1e400", "nan", "inf", "large", "", ",", "1,", "1;2", "1 2"],
    )
    @pytest.mark.parametrize("verb", ["evaluate", "predict"])
    def test_scales_that_cannot_be(self, atrous, model_file, scenes, tmp_path, verb, scales):
        places = [scenes] if verb == "evaluate" else [scenes / "JPEGImages"]
        code, out, err = atrous(verb, model_file, *places, f"--scales={scales}", "--out", "out")
        assert code == 2
        assert out == ""
        assert err.startswith(f"atrous: --scales {scales}: expected factors from 0.1 to 4 with commas")
        assert "for example --scales 0.75,1,1.25" in err
        assert "Traceback" not in err
        assert not (tmp_path / "out").exists()
