"""`atrous import`: what is recognised is told and written; what is not understood is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rebuilt_networks import Vainf
from safetensors.torch import save_file
from test_tensorflow_importer import folded, hugging_face_state

from atrous import api
from atrous.checkpoint import load_model, save_model
from atrous.errors import ConfigError, WeightsError
from atrous.foreign import FOREIGN_NETWORKS, build
from atrous.importers import ADAPTERS, Choices, read_foreign
from atrous.labels import VOC, Labels
from atrous.models import deeplabv3_mobilenet_v3_large, deeplabv3_resnet50
from atrous.models.deeplab import DeepLab
from atrous.prediction import load
from atrous.preprocessing import Preprocessing
from random_weights import image_of, randomise


def saved_torchvision(path: Path, network: DeepLab) -> Path:
    torch.save(network.state_dict(), path)
    return path


def test_from_file_to_prediction(atrous, scenes, tmp_path: Path) -> None:
    tensors = folded(hugging_face_state())
    np.savez(tmp_path / "tf.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    code, out, err = atrous("import", "tf.npz", "--output-stride", "16")
    assert (code, out) == (0, "tf.safetensors\n")
    assert "recognised TensorFlow's DeepLabv3 over MobileNetV2: tensorflow/deeplabv3_mobilenet_v2, 2,113,557" in err
    assert "output stride 16" in err
    assert "longest side of 513" in err
    code, out, _ = atrous("info", "tf.safetensors")
    assert code == 0
    assert "tensorflow/deeplabv3_mobilenet_v2" in out
    assert "longest side 513" in out
    image = next(iter((scenes / "JPEGImages").iterdir()))
    code, _, _ = atrous("predict", "tf.safetensors", image, "--out", "p", "--save", "mask", "--device", "cpu")
    assert code == 0
    model = load(tmp_path / "tf.safetensors", device="cpu")
    assert model.labels == VOC
    assert model.predict(image).label_map.shape == (64, 96)
    assert model.preprocessing.size_for((64, 96)) == (342, 513)


def test_torchvisions_files(atrous, tmp_path: Path) -> None:
    network = randomise(deeplabv3_mobilenet_v3_large(num_classes=21, auxiliary=True))
    saved_torchvision(tmp_path / "mobile.pth", network)
    code, _, err = atrous("import", "mobile.pth", "--from", "torchvision", "--out", "m.safetensors")
    assert code == 0
    assert "rates (12, 24, 36)" in err
    loaded = load_model(tmp_path / "m.safetensors")
    image = image_of(65, 97)
    with torch.inference_mode():
        assert torch.equal(loaded.network(image), network(image))
    assert loaded.labels == VOC
    assert loaded.preprocessing == Preprocessing()
    again = read_foreign(
        saved_torchvision(tmp_path / "r.pth", deeplabv3_resnet50(2)), choices=Choices(output_stride=16)
    )
    assert again.network.settings["atrous_rates"] == (6, 12, 18)
    assert again.labels == Labels.numbered(2)


def test_a_file_is_not_written_over(atrous, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("mine")
    code, _, err = atrous("import", "x.pth")
    assert code == 2
    assert "x.safetensors is there already" in err
    assert (tmp_path / "x.safetensors").read_text() == "mine"


def test_names_are_given_by_the_user(tmp_path: Path) -> None:
    torch.save(Vainf("mobilenet_v2", 16, plus=False, classes=2).state_dict(), tmp_path / "v.pth")
    imported = read_foreign(tmp_path / "v.pth", choices=Choices(names=("road", "rest")))
    assert imported.labels.names == ("road", "rest")
    with pytest.raises(ConfigError, match="--names has 1 names, but the network has 2 classes"):
        read_foreign(tmp_path / "v.pth", choices=Choices(names=("road",)))


def test_the_wrong_or_an_unknown_program(atrous, tmp_path: Path) -> None:
    torch.save({f"model.{k}": v for k, v in hugging_face_state().items()}, tmp_path / "hf.bin")
    with pytest.raises(WeightsError, match=r"--from smp, but its .* they look like huggingface's"):
        read_foreign(tmp_path / "hf.bin", source="smp")
    assert read_foreign(tmp_path / "hf.bin", source="huggingface").network.name == "tensorflow/deeplabv3_mobilenet_v2"
    with pytest.raises(ConfigError, match="--from keras: not known"):
        read_foreign(tmp_path / "hf.bin", source="keras")
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    code, out, err = atrous("import", "other.safetensors", "--out", "o.safetensors")
    assert (code, out) == (2, "")
    assert "no program is known that gives its 1 tensors their names: a.weight" in err
    assert all(name in err for name in ADAPTERS)
    code, _, err = atrous("import", "absent.pth")
    assert code == 2
    assert "absent.pth" in err
    assert not (tmp_path / "o.safetensors").exists()


def test_our_own_files_need_no_import(trained: Path) -> None:
    with pytest.raises(WeightsError, match="is an atrous model file already"):
        read_foreign(trained / "model.safetensors")


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    torch.save(Vainf("mobilenet_v2", 16, plus=False), tmp_path / "whole.pth")  # the module itself, as many save it
    with pytest.raises(WeightsError, match="code would have to be run"):
        read_foreign(tmp_path / "whole.pth")


@pytest.mark.parametrize("name", FOREIGN_NETWORKS)
def test_every_foreign_network_can_be_written_and_built_again(name: str) -> None:
    with torch.device("meta"):
        network = build(name, num_classes=5, output_stride=8)
        again = build(name, **network.settings)
    assert again.settings == network.settings
    assert network.name == name
    assert [(k, v.shape) for k, v in network.state_dict().items()] == [
        (k, v.shape) for k, v in again.state_dict().items()
    ]
    logits = network.eval()(torch.empty(1, 3, 65, 96, device="meta"))
    assert logits.shape == (1, 5, 65, 96)
    assert isinstance(network.classifier.logits, torch.nn.Conv2d)  # what `--freeze all-but-last` trains


def test_a_model_file_of_a_foreign_network(tmp_path: Path) -> None:
    network = randomise(build("smp/deeplabv3plus_mobilenet_v2", num_classes=3))
    preprocessing = Preprocessing(resize="longest side", resize_to=100)
    save_model(tmp_path / "x.safetensors", network, labels=Labels.numbered(3), preprocessing=preprocessing)
    loaded = load_model(tmp_path / "x.safetensors")
    assert loaded.preprocessing == preprocessing
    image = image_of(64, 96)
    with torch.inference_mode():
        assert torch.equal(loaded.network(image), network(image))


@pytest.mark.parametrize(
    "settings", [{"output_stride": 4}, {"num_classes": 0}, {"atrous_rates": "6"}, {"dropout": 1}, {"extra_conv": True}]
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="tensorflow/deeplabv3_mobilenet_v2"):
        build("tensorflow/deeplabv3_mobilenet_v2", **settings)
    with pytest.raises(ConfigError, match=r"smp/.*separable is 1"):
        build("smp/deeplabv3_resnet18", separable=1)


def test_an_imported_network_can_be_fine_tuned(scenes, tmp_path: Path) -> None:
    imported = ADAPTERS["huggingface"].convert(hugging_face_state(), Choices())
    path = tmp_path / "hf.safetensors"
    save_model(path, imported.network, labels=imported.labels, preprocessing=imported.preprocessing)
    run = api.train(
        scenes, out=tmp_path / "run", weights=str(path), epochs=1, batch=2, crop=(48, 64), validations=1, device="cpu"
    )
    assert load(run.folder, device="cpu").network.name == "tensorflow/deeplabv3_mobilenet_v2"
