"""VainF's DeepLabV3Plus-Pytorch: DeepLabv3 and v3+ over ResNet-50, ResNet-101 and MobileNetV2."""

from atrous.importers.adapter import Adapter, Choices, Imported, Tensors, choose_labels, fill
from atrous.importers.renaming import Rule, check_bands, rename, resnet_name, rotate_inputs
from atrous.models.aspp import default_atrous_rates
from atrous.preprocessing import Preprocessing

__all__ = ["VAINF"]

PROGRAM = "VainF's DeepLabV3Plus-Pytorch"
REDUCED = 48  # channels of the low-level features, which it puts before ASPP's

BACKBONE: list[Rule] = [
    (r"backbone\.(?:low|high)_level_features\.(.*)", r"backbone.\1"),
    (r"backbone\.(.*)", r"backbone.\1"),
]
V3: list[Rule] = [(r"classifier\.classifier\.(.*)", r"classifier.\1")]
V3_PLUS: list[Rule] = [
    (r"classifier\.aspp\.(.*)", r"classifier.aspp.\1"),
    (r"classifier\.project\.(.*)", r"classifier.reduce.\1"),
    (r"classifier\.classifier\.([01])\.(.*)", r"classifier.decoder.\1.\2"),
    (r"classifier\.classifier\.3\.(.*)", r"classifier.logits.\1"),
]


def _recognise(tensors: Tensors) -> bool:
    return "classifier.classifier.0.convs.0.0.weight" in tensors or (
        "classifier.aspp.convs.0.0.weight" in tensors and "classifier.project.0.weight" in tensors
    )


def _convert(tensors: Tensors, choices: Choices) -> Imported:
    is_plus = "classifier.aspp.convs.0.0.weight" in tensors
    first = "backbone.low_level_features.0.0.weight"
    mobile = first in tensors
    backbone = "mobilenet_v2" if mobile else resnet_name(tensors, "backbone.", program=PROGRAM)
    check_bands(tensors, first if mobile else "backbone.conv1.weight", program=PROGRAM)
    renamed = rename(tensors, [*BACKBONE, *(V3_PLUS if is_plus else V3)])
    joined = "classifier.decoder.0.weight"
    if joined in renamed.tensors:
        renamed.tensors[joined] = rotate_inputs(renamed.tensors[joined], REDUCED)
    classes = len(renamed.tensors.get("classifier.logits.weight" if is_plus else "classifier.4.weight", ()))
    output_stride = choices.output_stride or 16
    version = "deeplabv3plus" if is_plus else "deeplabv3"
    # Its DeepLabv3 over ResNets is ours to the last detail.
    name = f"vainf/{version}_{backbone}" if is_plus or mobile else f"{version}_{backbone}"
    network = fill(
        name,
        renamed.tensors,
        unknown=renamed.unknown,
        program=PROGRAM,
        num_classes=max(classes, 1),
        output_stride=output_stride,
        atrous_rates=default_atrous_rates(output_stride),
        dropout=0.1,
    )
    labels, note = choose_labels(classes, choices)
    notes = (
        f"output stride {output_stride}, rates {default_atrous_rates(output_stride)} (--output-stride)",
        note,
        "RGB, ImageNet's mean and deviation",
    )
    return Imported(program=PROGRAM, network=network, labels=labels, preprocessing=Preprocessing(), notes=notes)


VAINF = Adapter(
    program=PROGRAM,
    layout="classifier.classifier.*, classifier.aspp.*, classifier.project.*",
    recognise=_recognise,
    convert=_convert,
)
