"""MMSegmentation's `deeplabv3_r*` and `deeplabv3plus_r*` over ResNet-18, -50 and -101."""

from atrous.errors import WeightsError
from atrous.importers.adapter import Adapter, Choices, Imported, Tensors, choose_labels, fill
from atrous.importers.renaming import Rule, check_bands, rename, resnet_name, rotate_inputs
from atrous.preprocessing import Preprocessing

__all__ = ["MMSEG"]

PROGRAM = "MMSegmentation"
# Rates by output stride, in its files' names d8 and d16.
RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}

BACKBONE: list[Rule] = [
    (r"backbone\.stem\.([01346])\.(\w+)", r"backbone.conv1.\1.\2"),
    (r"backbone\.stem\.7\.(\w+)", r"backbone.bn1.\1"),
    (r"backbone\.((?:conv1|bn1|layer[1-4])\..*)", r"backbone.\1"),
    (r"auxiliary_head\..*", None),
]


def _aspp(to: str) -> list[Rule]:
    """Its plain and its separable branches, the pooling and the projection."""
    head = r"decode_head\."
    return [
        (rf"{head}image_pool\.1\.conv\.weight", f"{to}.convs.4.1.weight"),
        (rf"{head}image_pool\.1\.bn\.(\w+)", rf"{to}.convs.4.2.\1"),
        (rf"{head}aspp_modules\.([0-3])\.conv\.weight", rf"{to}.convs.\1.0.weight"),
        (rf"{head}aspp_modules\.([0-3])\.bn\.(\w+)", rf"{to}.convs.\1.1.\2"),
        *_separable(rf"{head}aspp_modules\.([1-3])", rf"{to}.convs.\1", groups=1),
        (rf"{head}bottleneck\.conv\.weight", f"{to}.project.0.weight"),
        (rf"{head}bottleneck\.bn\.(\w+)", rf"{to}.project.1.\1"),
    ]


def _separable(theirs: str, ours: str, *, groups: int) -> list[Rule]:
    """A depthwise separable convolution with norms; `groups` are in the pattern already."""
    last = rf"\{groups + 1}"
    return [
        (rf"{theirs}\.depthwise_conv\.conv\.weight", f"{ours}.0.weight"),
        (rf"{theirs}\.depthwise_conv\.bn\.(\w+)", rf"{ours}.1.{last}"),
        (rf"{theirs}\.pointwise_conv\.conv\.weight", f"{ours}.3.weight"),
        (rf"{theirs}\.pointwise_conv\.bn\.(\w+)", rf"{ours}.4.{last}"),
    ]


V3: list[Rule] = [*_aspp("classifier.0"), (r"decode_head\.conv_seg\.(\w+)", r"classifier.1.\1")]
V3_PLUS: list[Rule] = [
    *_aspp("classifier.aspp"),
    (r"decode_head\.c1_bottleneck\.conv\.weight", "classifier.reduce.0.weight"),
    (r"decode_head\.c1_bottleneck\.bn\.(\w+)", r"classifier.reduce.1.\1"),
    *_separable(r"decode_head\.sep_bottleneck\.([01])", r"classifier.decoder.\1", groups=1),
    (r"decode_head\.conv_seg\.(\w+)", r"classifier.logits.\1"),
]


def _recognise(tensors: Tensors) -> bool:
    return "decode_head.conv_seg.weight" in tensors and any(n.startswith("decode_head.aspp_modules.") for n in tensors)


def _convert(tensors: Tensors, choices: Choices) -> Imported:
    is_plus = "decode_head.c1_bottleneck.conv.weight" in tensors
    deep_stem = "backbone.stem.0.weight" in tensors
    if not deep_stem and "backbone.conv1.weight" not in tensors:
        raise WeightsError(
            f"{PROGRAM}: neither backbone.stem.0 nor backbone.conv1 is there. Expected ResNet-18, -50 or -101 (V1b or "
            "V1c). Nothing was written."
        )
    backbone = resnet_name(tensors, "backbone.", program=PROGRAM)
    check_bands(tensors, "backbone.stem.0.weight" if deep_stem else "backbone.conv1.weight", program=PROGRAM)
    renamed = rename(tensors, [*BACKBONE, *(V3_PLUS if is_plus else V3)])
    channels = len(tensors.get("decode_head.image_pool.1.conv.weight", range(512)))
    projection = "classifier.aspp.project.0.weight" if is_plus else "classifier.0.project.0.weight"
    if projection in renamed.tensors:  # it puts the image pooling first
        renamed.tensors[projection] = rotate_inputs(renamed.tensors[projection], channels)
    classes = len(tensors["decode_head.conv_seg.weight"])
    output_stride = choices.output_stride or 8
    settings: dict[str, object] = {"deep_stem": deep_stem, "aspp_channels": channels}
    if is_plus:
        settings["reduced_channels"] = len(tensors["decode_head.c1_bottleneck.conv.weight"])
    network = fill(
        f"mmseg/{'deeplabv3plus' if is_plus else 'deeplabv3'}_{backbone}",
        renamed.tensors,
        unknown=renamed.unknown,
        program=PROGRAM,
        num_classes=classes,
        output_stride=output_stride,
        atrous_rates=RATES[output_stride],
        **settings,
    )
    labels, note = choose_labels(classes, choices)
    notes = [
        f"output stride {output_stride}, rates {RATES[output_stride]}, no multi-grid, corners not aligned: as in its "
        f"'d{output_stride}' files; 769x769 Cityscapes and multi-grid ('mg124') files would need others",
        note,
        "RGB, ImageNet's mean and deviation",
    ]
    if renamed.dropped:
        notes.append("auxiliary_head was left out: it is for training")
    return Imported(program=PROGRAM, network=network, labels=labels, preprocessing=Preprocessing(), notes=tuple(notes))


MMSEG = Adapter(
    program=PROGRAM, layout="decode_head.aspp_modules.*, decode_head.conv_seg", recognise=_recognise, convert=_convert
)
