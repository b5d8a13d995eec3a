"""Which engine runs a network, why, and what is said where one cannot."""

import importlib.util
import sys

import pytest
import torch
from engine_networks import DecidesByValues, Foreign, image, network_of

import atrous
from atrous.engines import ENGINES, TorchEngine, choice, conversion, make_engine, torch_engines
from atrous.engines.file_engines import OnnxEngine, OpenVinoEngine
from atrous.errors import ConfigError, MissingExtraError

CPU = torch.device("cpu")
FILE_ENGINES = ["onnxruntime", "openvino"]


def made(name, network=None, device=CPU):
    return make_engine(name, network or Foreign(), device=device, bands=3)


@pytest.fixture
def installed(monkeypatch):
    """Let only these packages be installed."""
    return lambda *packages: monkeypatch.setattr(choice, "_is_installed", lambda package: package in packages)


@pytest.fixture
def not_found(monkeypatch):
    """Let a package not be installed, for those who look and for those who import."""
    find = importlib.util.find_spec

    def hide(package):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest)
        )
        monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.fixture
def exports(monkeypatch, cache):
    """Write files that no engine can read, and return which networks they were asked for."""
    asked = []

    def export(module, path, bands):
        asked.append(module)
        path.write_bytes(b"a file")

    monkeypatch.setattr(conversion, "_export", export)
    return asked


@pytest.mark.parametrize("name", ["tensorrt", "", "Torch", "torch "])
def test_an_unknown_engine_is_told_with_the_known_ones(name):
    with pytest.raises(ConfigError, match=rf"engine {name!r} is not known; expected one of: {', '.join(ENGINES)}\."):
        made(name)
    with pytest.raises(ConfigError, match="is not known"):
        atrous.Model(Foreign(), device="cpu", engine=name)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "engine"])
@pytest.mark.parametrize("name", FILE_ENGINES)
def test_a_package_that_is_missing_is_told_before_anything_is_converted(not_found, exports, name, package):
    package = name if package == "engine" else package
    not_found(package)
    with pytest.raises(MissingExtraError, match=rf'^{package} is not installed.*pip install "atrous\[export\]".*torch'):
        made(name)
    assert exports == []


@pytest.mark.parametrize(("engine", "package"), [(OnnxEngine, "onnxruntime"), (OpenVinoEngine, "openvino")])
def test_a_package_that_cannot_be_imported_is_told(not_found, tmp_path, engine, package):
    not_found(package)
    with pytest.raises(MissingExtraError, match=rf'^{package} is not installed.*pip install "atrous\[export\]"'):
        engine(tmp_path / "network.onnx")


@pytest.mark.parametrize("name", FILE_ENGINES)
def test_engines_of_files_run_on_the_cpu_only(exports, name):
    with pytest.raises(
        ConfigError, match=rf"engine {name} runs on the CPU, and the device is cuda:1; give --device cpu"
    ):
        made(name, device=torch.device("cuda:1"))
    assert exports == []


@pytest.mark.parametrize("name", FILE_ENGINES)
def test_a_network_that_cannot_be_followed_has_no_file(cache, name):
    for package in ("onnx", "onnxscript", name):
        pytest.importorskip(package)
    with pytest.raises(
        ConfigError, match=rf"engine {name} cannot run this network \(DecidesByValues: .*--engine torch"
    ):
        make_engine(name, DecidesByValues(), device=CPU, bands=3, keep=True)
    assert not cache.exists()


class TestRule:
    """What `auto` takes."""

    FASTEST = "the fastest here that needs no converted file"

    @pytest.mark.parametrize(
        "packages", [(), ("numba",), ("numba", "openvino", "onnxruntime"), ("openvino",), ("onnxruntime",)], ids=str
    )
    def test_torch_where_no_file_is_kept(self, installed, exports, packages):
        installed(*packages)
        engine = made("auto")
        assert isinstance(engine, TorchEngine)
        assert engine.reason == self.FASTEST
        assert exports == []

    def test_torch_with_numba_even_where_a_file_is_kept(self, installed, exports):
        conversion.converted(network_of("foreign"), bands=3, keep=True)
        installed("numba", "openvino", "onnxruntime")
        engine = made("auto", network_of("foreign"))
        assert isinstance(engine, TorchEngine)
        assert engine.reason == self.FASTEST

    @pytest.mark.parametrize(
        ("packages", "kind"),
        [
            (("openvino", "onnxruntime"), "OpenVinoEngine"),
            (("openvino",), "OpenVinoEngine"),
            (("onnxruntime",), "OnnxEngine"),
        ],
    )
    def test_without_numba_a_file_that_is_kept(self, installed, exports, monkeypatch, packages, kind):
        opened = []

        def open_file(path, *, reason):
            opened.append((kind, path, reason))
            return opened

        monkeypatch.setattr(choice, kind, open_file)
        path = conversion.converted(network_of("foreign"), bands=3, keep=True)
        installed(*packages)
        assert made("auto", network_of("foreign")) is opened
        assert opened == [(kind, path, "a converted file was kept for this network, and Numba is not installed")]
        assert isinstance(made("auto", network_of("deeplab")), TorchEngine)  # another network
        assert len(exports) == 1

    def test_nothing_to_run_a_kept_file_with(self, installed, exports):
        conversion.converted(network_of("foreign"), bands=3, keep=True)
        installed()
        assert isinstance(made("auto", network_of("foreign")), TorchEngine)

    def test_torch_on_another_device(self, installed, exports):
        conversion.converted(network_of("foreign"), bands=3, keep=True)
        installed("openvino", "onnxruntime")
        engine = made("auto", network_of("foreign"), device=torch.device("cuda"))
        assert isinstance(engine, TorchEngine)
        assert engine.reason == "the device is cuda"


class TestPreparations:
    """Trials of 3x3 convolutions cost seconds: they are made for jobs that are large enough."""

    @pytest.fixture
    def asked(self, monkeypatch, cache):
        """How specialising was asked for; no trials are made."""
        asked = []
        real = torch_engines.specialise

        def spy(module, picture, *, filtered, **options):
            asked.append(filtered)
            return real(module, picture, filtered=False, **options)

        monkeypatch.setattr(torch_engines, "specialise", spy)
        monkeypatch.setattr(torch_engines, "is_available", lambda: True)
        return asked

    @pytest.mark.parametrize(("images", "filtered"), [(None, False), (1, False), (1 << 40, True)])
    def test_the_size_of_the_job_decides(self, asked, cache, images, filtered):
        engine = TorchEngine(network_of("deeplab"), device=CPU, reason="as asked")
        if images is not None:
            engine.expect(images)
        engine.coarse_logits(image())
        assert asked == [filtered]
        assert (cache / "convolutions.json").is_file() == filtered
        assert engine.reason == ("no 3x3 convolution is faster another way here" if filtered else "as asked")

    def test_larger_images_make_a_larger_job(self, asked):
        for side, filtered in ((64, False), (256, True)):
            engine = TorchEngine(network_of("deeplab"), device=CPU)
            engine.expect(round(1.5 * torch_engines.WORTH_FILTERING / self.products_at_256()))
            engine.coarse_logits(image(side, side))
            assert asked.pop() == filtered

    def products_at_256(self):
        return atrous.models.count_multiply_adds(network_of("deeplab"), (256, 256))

    def test_what_comes_after_the_first_image_changes_nothing(self, asked):
        engine = TorchEngine(network_of("deeplab"), device=CPU)
        engine.coarse_logits(image())
        engine.expect(1 << 40)
        engine.coarse_logits(image())
        assert asked == [False]

    def test_without_numba_none_are_made(self, asked, monkeypatch):
        monkeypatch.setattr(torch_engines, "is_available", lambda: False)
        engine = TorchEngine(network_of("deeplab"), device=CPU)
        engine.expect(1 << 40)
        engine.coarse_logits(image())
        assert asked == [False]

    @pytest.mark.parametrize("filtered", [True, False])
    def test_who_makes_the_engine_can_decide(self, asked, filtered):
        engine = TorchEngine(network_of("deeplab"), device=CPU, filtered=filtered)
        engine.expect(1 if filtered else 1 << 40)
        engine.coarse_logits(image())
        assert asked == [filtered]

    def test_a_model_hands_its_job_on(self, asked):
        model = atrous.Model(network_of("deeplab"), device="cpu")
        model.expect(100)
        assert isinstance(model.engine, TorchEngine)
        assert model.engine._images == 100
