"""segmentation_models.pytorch's DeepLabV3 and DeepLabV3Plus over ResNets and MobileNetV2."""

from torch import Tensor, cat, zeros_like

from atrous.importers.adapter import Adapter, Choices, Imported, Tensors, choose_labels, fill
from atrous.importers.renaming import Rule, check_bands, rename, resnet_name
from atrous.labels import Labels
from atrous.preprocessing import Preprocessing

__all__ = ["SMP"]

PROGRAM = "segmentation_models.pytorch"

# Ours has AlignedHead around the head. "decoder.0" to "decoder.2" are the names before version 0.4.
ENCODER: list[Rule] = [(r"encoder\.features\.(.*)", r"backbone.\1"), (r"encoder\.(.*)", r"backbone.\1")]
V3: list[Rule] = [
    (r"decoder\.(?:aspp|0)\.(.*)", r"classifier.head.0.\1"),
    (r"decoder\.(?:conv|1)\.(.*)", r"classifier.head.1.\1"),
    (r"decoder\.(?:bn|2)\.(.*)", r"classifier.head.2.\1"),
    (r"segmentation_head\.0\.(.*)", r"classifier.head.4.\1"),
]
V3_PLUS: list[Rule] = [
    (r"decoder\.aspp\.0\.(.*)", r"classifier.head.aspp.0.\1"),
    (r"decoder\.aspp\.1\.([01])\.weight", r"classifier.head.aspp.1.\1.weight"),
    (r"decoder\.aspp\.2\.(.*)", r"classifier.head.aspp.1.2.\1"),
    (r"decoder\.block1\.(.*)", r"classifier.head.reduce.\1"),
    (r"decoder\.block2\.0\.([01])\.weight", r"classifier.head.decoder.\1.weight"),
    (r"decoder\.block2\.1\.(.*)", r"classifier.head.decoder.2.\1"),
    (r"segmentation_head\.0\.(.*)", r"classifier.head.logits.\1"),
]


def _recognise(tensors: Tensors) -> bool:
    has_deeplab = any(name.startswith(("decoder.aspp.", "decoder.0.convs.")) for name in tensors)
    return has_deeplab and "segmentation_head.0.weight" in tensors and any(n.startswith("encoder.") for n in tensors)


def _separable(tensors: Tensors) -> dict[str, Tensor]:
    """The tensors with the norms of separable ASPP branches counted on: a branch is (conv, conv), norm, ReLU."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        head, dot, tail = name.partition(".convs.")
        branch, _, rest = tail.partition(".")
        is_separable = dot and f"{head}.convs.{branch}.0.1.weight" in tensors
        if is_separable and rest.startswith("0."):
            rest = rest.removeprefix("0.")
        elif is_separable and rest.startswith("1."):
            rest = f"2.{rest.removeprefix('1.')}"
        renamed[f"{head}.convs.{branch}.{rest}" if dot else name] = tensor
    return renamed


def _convert(tensors: Tensors, choices: Choices) -> Imported:
    is_plus = "decoder.block1.0.weight" in tensors
    mobile = "encoder.features.0.0.weight" in tensors
    backbone = "mobilenet_v2" if mobile else resnet_name(tensors, "encoder.", program=PROGRAM)
    check_bands(tensors, "encoder.features.0.0.weight" if mobile else "encoder.conv1.weight", program=PROGRAM)
    renamed = rename(_separable(tensors), [*ENCODER, *(V3_PLUS if is_plus else V3)])
    aspp = "classifier.head.aspp.0" if is_plus else "classifier.head.0"
    last = "classifier.head.logits" if is_plus else "classifier.head.4"
    notes: list[str] = []
    classes = len(renamed.tensors.get(f"{last}.weight", ()))
    if classes == 1:
        _add_background(renamed.tensors, last)
        notes.append("its one class with a sigmoid became two, with the same probabilities")
    version = "deeplabv3plus" if is_plus else "deeplabv3"
    output_stride = choices.output_stride or (16 if is_plus else 8)
    network = fill(
        f"smp/{version}_{backbone}",
        renamed.tensors,
        unknown=renamed.unknown,
        program=PROGRAM,
        num_classes=max(classes, 2),
        output_stride=output_stride,
        atrous_rates=(12, 24, 36),
        aspp_channels=len(renamed.tensors.get(f"{aspp}.convs.0.0.weight", range(256))),
        separable=f"{aspp}.convs.1.2.weight" in renamed.tensors,
    )
    labels, note = choose_labels(max(classes, 2), choices)
    if choices.names is None:
        labels = Labels(names=("background", "foreground")) if classes == 1 else Labels.numbered(classes)
        note = f"{labels.num_classes} classes, whose names are not in the file (give them with --names)"
    notes = [
        f"output stride {output_stride}, rates (12, 24, 36): its defaults, as the file does not tell (--output-stride)",
        note,
        "RGB, ImageNet's mean and deviation: as its encoders were pretrained",
        *notes,
    ]
    return Imported(program=PROGRAM, network=network, labels=labels, preprocessing=Preprocessing(), notes=tuple(notes))


def _add_background(tensors: dict[str, Tensor], last: str) -> None:
    """Put a class whose logit is always 0 before the only one: softmax over both is the sigmoid."""
    for name in (f"{last}.weight", f"{last}.bias"):
        tensors[name] = cat([zeros_like(tensors[name]), tensors[name]])


SMP = Adapter(
    program=PROGRAM, layout="encoder.*, decoder.aspp.*, segmentation_head.0", recognise=_recognise, convert=_convert
)
