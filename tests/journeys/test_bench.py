"""`atrous bench` tells how fast models are, in full and consistently, and says what it cannot measure."""

import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from PIL import Image

import atrous as library
from atrous.engines import conversion
from atrous.speed import EngineSpeed
from random_weights import randomise

PARTS = ("decode", "prepare", "network", "labels")
FIELDS = {
    **dict.fromkeys(("model", "engine", "precision", "reason", "device"), str),
    **dict.fromkeys(("first", "rate", "total", "floor", *PARTS), float),
    **dict.fromkeys(("threads", "memory", "multiply_adds"), int),
    "size": list,
    "batches": dict,
}
SMALL = ["--size", "40", "56", "--rounds", "2"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    torch.manual_seed(0)
    network = randomise(library.models.deeplabv3_mobilenet_v2(3, aspp_channels=8))
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    library.Model(network, device="cpu").save(path)
    return path


class Here:
    """Stands for the pool of one process: the work is done in this one."""

    asked: list

    def __init__(self, max_workers, mp_context):
        assert max_workers == 1
        assert mp_context.get_start_method() == "spawn"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def submit(self, work, request):
        self.asked.append(request)
        future = Future()
        try:
            future.set_result(work(request))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def here(monkeypatch):
    """Measure in this process, without what only pays for many images; returns what was asked."""
    monkeypatch.setattr(Here, "asked", [], raising=False)
    monkeypatch.setattr("atrous.speed.ProcessPoolExecutor", Here)
    monkeypatch.setattr("atrous.speed.GEMM_SIDE", 64)
    monkeypatch.setattr("atrous.speed.MANY_IMAGES", 1)
    return Here.asked


def assert_consistent(speed):
    assert set(speed) == set(FIELDS)
    assert {name: type(value) for name, value in speed.items()} == FIELDS
    assert speed["total"] == pytest.approx(sum(speed[part] for part in PARTS))
    assert speed["floor"] == pytest.approx(speed["multiply_adds"] / speed["rate"])
    assert min(speed[name] for name in (*PARTS, "first", "floor", "multiply_adds", "rate")) > 0
    assert speed["memory"] >= 0
    assert speed["precision"] == "float32"
    assert (speed["device"], speed["threads"]) == ("cpu", torch.get_num_threads())
    assert all(rate > 0 for rate in speed["batches"].values())


def test_a_model_file_is_measured_in_a_process_of_its_own(atrous, model_file, tmp_path):
    options = [*SMALL, "--engine", "plain", "--batches", "1,3", "--device", "cpu", "--json", "--plot", "speed.png"]
    code, out, err = atrous("bench", model_file, *options)
    assert code == 0, err
    document = json.loads(out)
    assert set(document) == {"format_version", "speeds"}
    assert document["format_version"] == 1
    (speed,) = document["speeds"]
    assert_consistent(speed)
    assert (speed["model"], speed["engine"], speed["reason"]) == (str(model_file), "plain", "as asked")
    assert speed["size"] == [40, 56]
    assert list(speed["batches"]) == ["1", "3"]
    assert speed["multiply_adds"] == library.models.count_multiply_adds(library.load(model_file).network, (40, 56))
    assert 20e6 < speed["memory"] < 2e9  # of one process: at least what it reads and computes
    assert "picture: speed.png" in err
    with Image.open(tmp_path / "speed.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 100


def test_a_run_folder_and_a_networks_name_in_a_table(atrous, here, trained):
    name = "deeplabv3_mobilenet_v2"
    code, out, err = atrous(
        "bench", trained, name, *SMALL, "--classes", "4", "--engine", "plain,torch", "--batches", "1,2"
    )
    assert code == 0, err
    header, *rows, last = out.splitlines()
    for column in ("model", "engine", "network ms", "total ms", "memory MB", "images/s at 1/2", "network / floor"):
        assert column in header
    assert [row.split()[:2] for row in rows] == [
        [trained.name, "plain"],
        [trained.name, "torch"],
        [name, "plain"],
        [name, "torch"],
    ]
    assert all(len(row.split()) == 12 for row in rows)
    assert last.startswith("40x56, cpu, 1 threads; floor: multiply-adds over")
    assert f"{name}, torch: as asked" in err
    assert [request.classes for request in here] == [4] * 4


def test_without_a_model_it_is_the_fastest_network(atrous, here):
    code, out, err = atrous("bench", *SMALL, "--engine", "plain", "--json")
    assert code == 0, err
    (speed,) = json.loads(out)["speeds"]
    assert_consistent(speed)
    assert speed["model"] == "deeplabv3_mobilenet_v3_large"
    assert list(speed["batches"]) == ["1", "4"]


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_asked_is_what_is_measured(atrous, here, model_file, keep):
    options = ["--device", "cpu", "--rounds", "3", "--size", "32", "33", "--batches", "5"]
    code, _, err = atrous("bench", model_file, "--engine", "plain", *options, *(["--keep"] if keep else []))
    assert code == 0, err
    (request,) = here
    assert (request.device, request.rounds, request.size, request.batches) == ("cpu", 3, (32, 33), (5,))
    assert (request.keep, request.threads) == (keep, torch.get_num_threads())


def test_all_are_all_but_the_rule(atrous, here, model_file, monkeypatch):
    monkeypatch.setattr("atrous.speed._measure", lambda request: pytest.fail(request.engine))
    asked = []
    monkeypatch.setattr("atrous.speed.measure_engines", lambda model, names, **options: asked.extend(names) or [])
    assert atrous("bench", model_file, *SMALL, "--engine", "all")[0] == 0
    assert sorted(asked) == ["onnxruntime", "openvino", "plain", "torch"]


def test_an_engine_that_is_not_there_is_told_and_left_out(atrous, here, model_file, monkeypatch):
    def need(*packages):
        raise conversion.missing_extra(packages[0])

    monkeypatch.setattr("atrous.engines.choice.need", need)
    code, out, err = atrous("bench", model_file, *SMALL, "--engine", "openvino,plain", "--json")
    assert code == 0
    assert [speed["engine"] for speed in json.loads(out)["speeds"]] == ["plain"]
    assert "openvino: openvino is not installed" in err
    assert 'pip install "atrous[export]"' in err
    code, out, err = atrous("bench", model_file, *SMALL, "--engine", "openvino,onnxruntime")
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("atrous: onnxruntime is not installed")


def test_a_process_that_was_killed_is_told(atrous, here, model_file, monkeypatch):
    def killed(request):
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr("atrous.speed._measure", killed)
    code, out, err = atrous("bench", model_file, *SMALL, "--engine", "plain")
    assert code == 2
    assert out == ""
    assert "was ended from outside, as happens where memory runs out. Choose a smaller --size" in err
    assert "an error inside atrous" not in err


def test_a_picture_can_be_svg_in_a_new_folder(atrous, here, model_file, tmp_path):
    code, _, err = atrous("bench", model_file, *SMALL, "--engine", "plain,torch", "--plot", "new/speed.svg")
    assert code == 0, err
    text = (tmp_path / "new" / "speed.svg").read_text()
    assert "<svg" in text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["speed.svg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "tensorrt"], "--engine tensorrt"),
        (["--engine", "plain,,torch"], "expected engines among auto, torch, onnxruntime, openvino, plain"),
        (["--engine", ""], "expected engines among"),
        (["--batches", "0"], "--batches 0: expected whole numbers of 1 or more with commas"),
        (["--batches", "1,-4"], "--batches 1,-4: expected whole numbers"),
        (["--batches", "one"], "--batches one: expected whole numbers"),
        (["--batches", "1.5"], "--batches 1.5: expected whole numbers"),
        (["--batches", ""], "--batches : expected whole numbers"),
        (["--size", "31", "64"], "sides of 32 pixels or more"),
        (["--size", "64", "0"], "sides of 32 pixels or more"),
        (["--rounds", "0"], "at least one round"),
        (["--plot", "speed.txt"], "--plot speed.txt: expected a file ending in .png or .svg"),
        (["--plot", "speed"], "expected a file ending in .png or .svg"),
        (["--device", "abacus"], "device 'abacus' cannot be used here"),
    ],
)
def test_options_that_cannot_be(atrous, here, model_file, tmp_path, options, message):
    engine = [] if "--engine" in options else ["--engine", "plain"]
    code, out, err = atrous("bench", model_file, *engine, *options)
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("atrous: ")
    assert message in err
    assert "Traceback" not in err
    assert "an error inside atrous" not in err
    assert here == [] or "--device" in options
    assert [path for path in tmp_path.iterdir() if path.name != "cache"] == []


@pytest.mark.parametrize("options", [["--size", "64"], ["--size", "wide", "64"], ["--rounds", "many"], ["--nonsense"]])
def test_wrong_usage(atrous, here, model_file, options):
    code, out, err = atrous("bench", model_file, *options)
    assert code == 2
    assert out == ""
    assert err
    assert "Traceback" not in err
    assert here == []


def a_folder_without_a_model(folder):
    (folder / "model").mkdir()


def a_file_that_is_no_model(folder):
    (folder / "model").write_bytes(b"hello")


def nothing(folder):
    pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nothing, "model: no such model file or run folder, and no network's name"),
        (a_folder_without_a_model, "model: no model.safetensors in this folder"),
        (a_file_that_is_no_model, "model"),
    ],
)
def test_a_model_that_cannot_be_opened(atrous, here, model_file, tmp_path, make, message):
    make(tmp_path)
    code, out, err = atrous("bench", "model", *SMALL, "--engine", "plain")
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("atrous: ")
    assert message in err
    assert "an error inside atrous" not in err
    assert len(here) == (0 if make is nothing else 1)


def test_a_missing_model_is_told_before_the_others_are_measured(atrous, here, model_file):
    code, _, err = atrous("bench", model_file, "nowhere.safetensors", *SMALL, "--engine", "plain")
    assert code == 2
    assert "nowhere.safetensors: no such model file" in err
    assert here == []


def test_what_follows_from_the_figures():
    speed = EngineSpeed(
        model="m", engine="plain", precision="float32", reason="as asked", size=(40, 56), threads=1, device="cpu", first=3.0,
        decode=0.1, prepare=0.2, network=0.3, labels=0.4, memory=None, multiply_adds=600, rate=1200.0, batches={1: 2.0},
    )  # fmt: skip
    assert speed.total == pytest.approx(1.0)
    assert speed.floor == 0.5
    document = json.loads(json.dumps(speed.as_json()))
    assert document["memory"] is None
    assert document["size"] == [40, 56]
    assert document["total"] == pytest.approx(1.0)
