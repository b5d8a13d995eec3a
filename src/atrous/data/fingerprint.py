"""A short name for the state of a data set's files."""

import hashlib

from atrous.data.samples import Dataset

__all__ = ["fingerprint"]


def fingerprint(dataset: Dataset) -> str:
    """Sixteen hex digits that change when samples, splits, classes, the pixels that are read, or file sizes change.

    Contents are not read.
    """
    digest = hashlib.sha256(repr((dataset.labels, sorted(dataset.class_map.items()))).encode())
    if dataset.bands != "auto" or not dataset.pixels.is_photo:
        digest.update(repr((dataset.bands, dataset.pixels)).encode())
    for split, samples in sorted(dataset.splits.items()):
        for sample in samples:
            sizes = [
                path.stat().st_size if path is not None and path.exists() else -1
                for path in (sample.image, sample.mask)
            ]
            digest.update(f"{split}\0{sample.name}\0{sizes}\n".encode())
    return digest.hexdigest()[:16]
