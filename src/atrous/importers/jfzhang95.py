"""jfzhang95's pytorch-deeplab-xception: DeepLabv3+ over ResNet-101 and MobileNetV2."""

from atrous.errors import WeightsError
from atrous.importers.adapter import Adapter, Choices, Imported, Tensors, choose_labels, fill
from atrous.importers.renaming import Rule, check_bands, rename, resnet_name
from atrous.models.aspp import default_atrous_rates
from atrous.preprocessing import Preprocessing

__all__ = ["JFZHANG95"]

PROGRAM = "jfzhang95's pytorch-deeplab-xception"

_PLACES = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}  # in a unit that expands
_FIRST_PLACES = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}  # in the first unit, which does not
MOBILENET: list[Rule] = [
    # The same tensors are there again as the first four and the other units.
    (r"backbone\.(?:low|high)_level_features\..*", None),
    (r"backbone\.features\.(\d+)\.([01])\.(\w+)", r"backbone.\1.\2.\3"),
    *[
        (rf"backbone\.features\.1\.conv\.{theirs}\.(\w+)", rf"backbone.1.conv.{ours}.\1")
        for theirs, ours in _FIRST_PLACES.items()
    ],
    *[
        (rf"backbone\.features\.(?!1\.)(\d+)\.conv\.{theirs}\.(\w+)", rf"backbone.\1.conv.{ours}.\2")
        for theirs, ours in _PLACES.items()
    ],
]
RESNET: list[Rule] = [(r"backbone\.((?:conv1|bn1|layer[1-4])\..*)", r"backbone.\1")]
HEAD: list[Rule] = [
    *[
        rule
        for branch in range(4)
        for rule in (
            (rf"aspp\.aspp{branch + 1}\.atrous_conv\.weight", f"classifier.head.aspp.convs.{branch}.0.weight"),
            (rf"aspp\.aspp{branch + 1}\.bn\.(\w+)", rf"classifier.head.aspp.convs.{branch}.1.\1"),
        )
    ],
    (r"aspp\.global_avg_pool\.([12])\.(\w+)", r"classifier.head.aspp.convs.4.\1.\2"),
    (r"aspp\.conv1\.weight", "classifier.head.aspp.project.0.weight"),
    (r"aspp\.bn1\.(\w+)", r"classifier.head.aspp.project.1.\1"),
    (r"decoder\.conv1\.weight", "classifier.head.reduce.0.weight"),
    (r"decoder\.bn1\.(\w+)", r"classifier.head.reduce.1.\1"),
    (r"decoder\.last_conv\.([0145])\.(\w+)", r"classifier.head.decoder.\1.\2"),
    (r"decoder\.last_conv\.8\.(\w+)", r"classifier.head.logits.\1"),
]


def _recognise(tensors: Tensors) -> bool:
    return "aspp.aspp1.atrous_conv.weight" in tensors and "decoder.last_conv.0.weight" in tensors


def _convert(tensors: Tensors, choices: Choices) -> Imported:
    if "decoder.last_conv.8.weight" not in tensors:
        raise WeightsError(
            f"{PROGRAM}: decoder.last_conv.8, the layer of logits, is not there. Expected its decoder with two dropouts "
            "(since 2019). Nothing was written; import a newer checkpoint."
        )
    mobile = "backbone.features.0.0.weight" in tensors
    backbone = "mobilenet_v2" if mobile else _resnet(tensors)
    check_bands(tensors, "backbone.features.0.0.weight" if mobile else "backbone.conv1.weight", program=PROGRAM)
    renamed = rename(tensors, [*(MOBILENET if mobile else RESNET), *HEAD])
    classes = len(tensors["decoder.last_conv.8.weight"])
    output_stride = choices.output_stride or 16
    network = fill(
        f"jfzhang95/deeplabv3plus_{backbone}",
        renamed.tensors,
        unknown=renamed.unknown,
        program=PROGRAM,
        num_classes=classes,
        output_stride=output_stride,
        atrous_rates=default_atrous_rates(output_stride),
    )
    labels, note = choose_labels(classes, choices)
    notes = (
        f"output stride {output_stride}, rates {default_atrous_rates(output_stride)}, aligned corners (--output-stride)",
        note,
        "RGB, ImageNet's mean and deviation",
    )
    return Imported(program=PROGRAM, network=network, labels=labels, preprocessing=Preprocessing(), notes=notes)


def _resnet(tensors: Tensors) -> str:
    for start, kind in (("backbone.block1.rep.", "Xception"), ("backbone.layer0.", "DRN")):
        if any(name.startswith(start) for name in tensors):
            raise WeightsError(
                f"{PROGRAM}: its backbone is its {kind}, which this version does not have. Expected ResNet-101 or "
                "MobileNetV2. Nothing was written."
            )
    found = resnet_name(tensors, "backbone.", program=PROGRAM)
    if found != "resnet101":
        raise WeightsError(
            f"{PROGRAM}: the backbone is {found}. Expected ResNet-101 or MobileNetV2. Nothing was written."
        )
    return found


JFZHANG95 = Adapter(
    program=PROGRAM, layout="aspp.aspp1.atrous_conv, decoder.last_conv.*", recognise=_recognise, convert=_convert
)
