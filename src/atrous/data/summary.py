"""A data set in a few lines: pairs, sizes and shares of classes per split."""

from atrous.data.findings import AuditResult, SplitSummary

__all__ = ["summary_lines"]

SHOWN_SIZES = 3


def summary_lines(result: AuditResult) -> list[str]:
    """One line per split, then one per class with its share of the labelled pixels in each split."""
    splits = {name: split for name, split in result.splits.items() if split.images}
    lines = [
        f"{name}: {split.images} images, {_sizes(split)}, {split.void_share:.1%} void" for name, split in splits.items()
    ]
    names = result.dataset.labels.names
    width = max((len(name) for name in names), default=0)
    labelled = {name: split for name, split in splits.items() if any(split.class_pixels)}
    if not labelled:
        return lines
    lines.append("share of labelled pixels (images with the class):")
    for index, name in enumerate(names):
        shares = "   ".join(
            f"{split_name} {split.class_shares[index]:7.2%} ({split.class_images[index]})"
            for split_name, split in labelled.items()
        )
        lines.append(f"  {name:<{width}}  {shares}")
    return lines


def _sizes(split: SplitSummary) -> str:
    common = split.sizes.most_common(SHOWN_SIZES)
    shown = ", ".join(
        f"{height}x{width}" + (f" ({count})" if len(split.sizes) > 1 else "") for (height, width), count in common
    )
    more = f" and {len(split.sizes) - SHOWN_SIZES} other sizes" if len(split.sizes) > SHOWN_SIZES else ""
    return shown + more
