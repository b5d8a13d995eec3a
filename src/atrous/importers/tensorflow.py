"""TensorFlow's DeepLabv3 over MobileNetV2 for PASCAL VOC: an `.npz` of folded layers, and Hugging Face's layout."""

from torch import Tensor, ones, zeros

from atrous.errors import WeightsError
from atrous.importers.adapter import Adapter, Choices, Imported, Tensors, choose_labels, fill
from atrous.importers.renaming import Rule, check_bands, rename, rotate_inputs
from atrous.preprocessing import Preprocessing

__all__ = ["HUGGING_FACE", "TENSORFLOW"]

NETWORK = "tensorflow/deeplabv3_mobilenet_v2"
NUM_UNITS = 17
BACKBONE_EPS, HEAD_EPS = 1e-3, 1e-5
POOLED = 256  # channels of the image pooling, which TensorFlow puts before those of the 1x1 branch

# Their layer -> our convolution and norm, in TensorFlow's own words.
HEAD = {
    "image_pooling": ("classifier.head.0.convs.1.1", "classifier.head.0.convs.1.2"),
    "aspp0": ("classifier.head.0.convs.0.0", "classifier.head.0.convs.0.1"),
    "concat_projection": ("classifier.head.0.project.0", "classifier.head.0.project.1"),
}
LAYERS: dict[str, tuple[str, str]] = {"stem": ("backbone.0.0", "backbone.0.1"), **HEAD}
for _unit in range(NUM_UNITS):
    _ours = f"backbone.{_unit + 1}.conv"
    if _unit == 0:  # the first unit expands nothing
        LAYERS["block0.dw"] = (f"{_ours}.0.0", f"{_ours}.0.1")
        LAYERS["block0.project"] = (f"{_ours}.1", f"{_ours}.2")
    else:
        LAYERS[f"block{_unit}.expand"] = (f"{_ours}.0.0", f"{_ours}.0.1")
        LAYERS[f"block{_unit}.dw"] = (f"{_ours}.1.0", f"{_ours}.1.1")
        LAYERS[f"block{_unit}.project"] = (f"{_ours}.2", f"{_ours}.3")

# Hugging Face's layer -> TensorFlow's.
HUGGING_FACE_LAYERS = {
    "mobilenet_v2.conv_stem.first_conv": "stem",
    "mobilenet_v2.conv_stem.conv_3x3": "block0.dw",
    "mobilenet_v2.conv_stem.reduce_1x1": "block0.project",
    "segmentation_head.conv_pool": "image_pooling",
    "segmentation_head.conv_aspp": "aspp0",
    "segmentation_head.conv_projection": "concat_projection",
}
for _unit in range(1, NUM_UNITS):
    for _theirs, _name in (("expand_1x1", "expand"), ("conv_3x3", "dw"), ("reduce_1x1", "project")):
        HUGGING_FACE_LAYERS[f"mobilenet_v2.layer.{_unit - 1}.{_theirs}"] = f"block{_unit}.{_name}"


def _recognise_npz(tensors: Tensors) -> bool:
    return "stem.weight" in tensors and "concat_projection.weight" in tensors


def _convert_npz(tensors: Tensors, choices: Choices) -> Imported:
    """Norms are folded into the convolutions, so each norm becomes one that only adds the bias."""
    renamed: dict[str, Tensor] = {}
    left = dict(tensors)
    for layer, (conv, norm) in LAYERS.items():
        weight, bias = left.pop(f"{layer}.weight", None), left.pop(f"{layer}.bias", None)
        if weight is None or bias is None:
            raise WeightsError(
                f"{TENSORFLOW.program}: the layer {layer!r} has no weight or no bias. Expected both for each of "
                f"{len(LAYERS)} layers. Nothing was written; fetch or convert the file again."
            )
        eps = HEAD_EPS if layer in HEAD else BACKBONE_EPS
        renamed |= {
            f"{conv}.weight": weight,
            f"{norm}.weight": ones(len(weight)),
            f"{norm}.bias": bias,
            f"{norm}.running_mean": zeros(len(weight)),
            f"{norm}.running_var": ones(len(weight)) - eps,
        }
    for name in ("weight", "bias"):
        if f"logits.{name}" in left:
            renamed[f"classifier.head.1.{name}"] = left.pop(f"logits.{name}")
    notes = ("batch norm was folded: it can be used and fine-tuned with frozen statistics, not trained anew",)
    return _finish(renamed, list(left), choices, TENSORFLOW.program, notes)


def _recognise_hugging_face(tensors: Tensors) -> bool:
    return "segmentation_head.conv_aspp.convolution.weight" in tensors


def _convert_hugging_face(tensors: Tensors, choices: Choices) -> Imported:
    rules: list[Rule] = []
    for theirs, layer in HUGGING_FACE_LAYERS.items():
        conv, norm = LAYERS[layer]
        pattern = theirs.replace(".", r"\.")
        rules.append((rf"{pattern}\.convolution\.weight", f"{conv}.weight"))
        rules.append((rf"{pattern}\.normalization\.(\w+)", rf"{norm}.\1"))
    rules.append((r"segmentation_head\.classifier\.convolution\.(weight|bias)", r"classifier.head.1.\1"))
    rules.append((r"mobilenet_v2\.conv_1x1\..*", None))
    renamed = rename(tensors, rules)
    notes = ("mobilenet_v2.conv_1x1 was left out: the segmentation does not use it",) if renamed.dropped else ()
    return _finish(renamed.tensors, renamed.unknown, choices, HUGGING_FACE.program, notes)


def _finish(
    renamed: dict[str, Tensor], unknown: list[str], choices: Choices, program: str, notes: tuple[str, ...]
) -> Imported:
    """Fill the network, with the image pooling behind the 1x1 branch."""
    projection, logits = "classifier.head.0.project.0.weight", renamed.get("classifier.head.1.weight")
    if projection not in renamed or logits is None:
        raise WeightsError(
            f"{program}: the projection or the layer of logits is not there. Expected a whole network. Nothing was "
            "written; fetch the file again."
        )
    check_bands(renamed, "backbone.0.0.weight", program=program)
    renamed[projection] = rotate_inputs(renamed[projection], POOLED)
    output_stride = choices.output_stride or 8
    network = fill(
        NETWORK, renamed, unknown=unknown, program=program, num_classes=len(logits), output_stride=output_stride
    )
    labels, note = choose_labels(len(logits), choices)
    # TensorFlow's own: input x / 127.5 - 1, longest side 513 (deeplab's frozen graphs).
    half = (0.5, 0.5, 0.5)
    preprocessing = Preprocessing(mean=half, std=half, resize="longest side", resize_to=513)
    facts = (
        f"output stride {output_stride} (8 is slower and a little better; --output-stride)",
        note,
        "images are resized to a longest side of 513, values -1 to 1; aligned corners; TensorFlow's padding",
    )
    return Imported(
        program=program, network=network, labels=labels, preprocessing=preprocessing, notes=(*facts, *notes)
    )


TENSORFLOW = Adapter(
    program="TensorFlow's DeepLabv3 over MobileNetV2",
    layout="stem.*, block0..16.*, concat_projection.* (.npz)",
    recognise=_recognise_npz,
    convert=_convert_npz,
)
HUGGING_FACE = Adapter(
    program="Hugging Face's MobileNetV2ForSemanticSegmentation",
    layout="mobilenet_v2.conv_stem.*, segmentation_head.conv_aspp.*",
    recognise=_recognise_hugging_face,
    convert=_convert_hugging_face,
)
