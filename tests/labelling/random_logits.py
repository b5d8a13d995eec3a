"""Coarse logits of several kinds, and when a label map is as good as the plain one."""

import torch
from hypothesis import strategies as st
from torch.nn import functional

from atrous.labelling import plain

KINDS = ("smooth", "noise", "few values", "constant", "large")
LAYOUTS = ("planes", "channels last", "every second column", "transposed", "expanded rows")


def random_logits(seed, classes, size, *, kind="smooth", layout="planes"):
    """Logits (1, K, h, w) float32."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, classes, *size)
    noise = torch.randn(shape, generator=generator)
    if kind == "smooth":  # like a network's: regions of one class, with borders between them
        few = torch.randn(1, classes, 1 + size[0] // 8, 1 + size[1] // 8, generator=generator)
        logits = 8 * functional.interpolate(few, size=size, mode="bicubic") + 0.1 * noise
    elif kind == "few values":  # ties everywhere
        logits = noise.round()
    elif kind == "constant":
        logits = torch.zeros(shape)
    else:
        logits = 1e4 + 1e3 * noise if kind == "large" else noise
    return laid_out(logits, layout)


def laid_out(logits, layout):
    """The same logits, or of that shape, with other strides."""
    if layout == "channels last":
        return logits.contiguous(memory_format=torch.channels_last)
    if layout == "every second column":
        return logits.repeat_interleave(2, dim=3)[..., ::2]
    if layout == "transposed":
        return logits.transpose(2, 3).contiguous().transpose(2, 3)
    if layout == "expanded rows":
        return logits[:, :, :1].expand_as(logits)
    return logits


def shortfall(labels, scores):
    """How far the score of the labelled class is below the best one, at worst, over the scores' range."""
    given = scores.gather(0, torch.from_numpy(labels.astype("int64"))[None])[0]
    spread = (scores.max() - scores.min()).clamp_min(1e-6)
    return float(((scores.max(dim=0).values - given) / spread).max())


def assert_best(labels, coarse, size, **options):
    """Where the two best plain scores differ by more than 1e-5 of the range, the label is the plain one."""
    assert labels.shape == size
    assert labels.dtype == plain.label_type(coarse.shape[1])
    assert shortfall(labels, plain.resized(coarse, size, **options)) <= 1e-5


def cases(*, most_classes=24, longest=70):
    """Hypothesis: seed, classes, coarse size, result size, kind, layout, align_corners."""
    coarse = st.tuples(st.integers(1, 20), st.integers(1, 20))
    return {
        "seed": st.integers(0, 1000),
        "classes": st.integers(1, most_classes),
        "coarse_size": coarse,
        "size": st.tuples(st.integers(1, longest), st.integers(1, longest)),
        "kind": st.sampled_from(KINDS),
        "layout": st.sampled_from(LAYOUTS),
        "align_corners": st.booleans(),
    }
