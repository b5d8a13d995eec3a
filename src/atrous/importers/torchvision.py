"""torchvision's `deeplabv3_*`: the names are ours, so only the network has to be chosen."""

from atrous.errors import WeightsError
from atrous.importers.adapter import Adapter, Choices, Imported, Tensors, choose_labels, fill
from atrous.importers.renaming import check_bands, resnet_name
from atrous.preprocessing import Preprocessing

__all__ = ["TORCHVISION"]

PROGRAM = "torchvision"


def _recognise(tensors: Tensors) -> bool:
    return "classifier.0.convs.0.0.weight" in tensors and any(name.startswith("backbone.") for name in tensors)


def _convert(tensors: Tensors, choices: Choices) -> Imported:
    mobile = "backbone.1.block.0.0.weight" in tensors
    backbone = "mobilenet_v3_large" if mobile else resnet_name(tensors, "backbone.", program=PROGRAM)
    if backbone not in ("resnet50", "resnet101", "mobilenet_v3_large") or "classifier.4.weight" not in tensors:
        raise WeightsError(
            f"{PROGRAM}: a DeepLabv3 over {backbone} with these layers is none of its networks. Expected "
            "deeplabv3_resnet50, deeplabv3_resnet101 or deeplabv3_mobilenet_v3_large. Nothing was written."
        )
    check_bands(tensors, "backbone.0.0.weight" if mobile else "backbone.conv1.weight", program=PROGRAM)
    num_classes = len(tensors["classifier.4.weight"])
    output_stride = choices.output_stride or (16 if mobile else 8)
    network = fill(
        f"deeplabv3_{backbone}",
        dict(tensors),
        unknown=(),
        program=PROGRAM,
        num_classes=num_classes,
        output_stride=output_stride,
        auxiliary="aux_classifier.0.weight" in tensors,
    )
    labels, note = choose_labels(num_classes, choices)
    rates = network.settings["atrous_rates"]
    notes = (f"output stride {output_stride}, rates {rates}", note, "RGB, ImageNet's mean and deviation")
    return Imported(program=PROGRAM, network=network, labels=labels, preprocessing=Preprocessing(), notes=notes)


TORCHVISION = Adapter(
    program=PROGRAM, layout="backbone.*, classifier.0.convs.*", recognise=_recognise, convert=_convert
)
