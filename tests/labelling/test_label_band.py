"""Labels from a band of coarse rows are the rows of the whole label map."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.labelling import first_read, label_band, label_map, rows_ready


@given(
    coarse=st.tuples(st.integers(1, 12), st.integers(1, 9)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 60)),
    share=st.floats(0.5, 1),
    step=st.integers(1, 5),
    compiled=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_bands_put_together_are_the_label_map(
    coarse: tuple[int, int], size: tuple[int, int], share: float, step: int, compiled: bool
) -> None:
    logits = torch.randn(1, 4, *coarse, generator=torch.Generator().manual_seed(coarse[0] * 31 + size[0]))
    cover = (share, 1.0)
    whole = label_map(logits, size, cover=cover)
    done = 0
    for end in [*range(step, coarse[0], step), coarse[0]]:
        ready = rows_ready(end, size[0], coarse_height=coarse[0], cover=share)
        if ready == done:
            continue
        first = first_read(done, size[0], coarse_height=coarse[0], cover=share)
        band = logits[:, :, first:end]
        labels = label_band(band, slice(done, ready), size, first=first, coarse_height=coarse[0], cover=cover)
        assert (labels == whole[done:ready]).all()
        done = ready
    assert done == size[0]
