"""From a folder on the disk to a `Dataset`: which layout it has, and everything that was decided on the way."""

from pathlib import Path

from atrous.data.layouts.assembly import SplitRule
from atrous.data.layouts.camvid import read_camvid
from atrous.data.layouts.described import DATA_FILE, read_described
from atrous.data.layouts.folder import is_mask_folder, read_folder
from atrous.data.layouts.listing import Tree
from atrous.data.layouts.voc import read_voc
from atrous.data.pixels import choose_pixels
from atrous.data.samples import Dataset
from atrous.data.split import VAL_SHARE
from atrous.errors import DataError

__all__ = ["LAYOUTS", "open_dataset"]

LAYOUTS = (
    "a data.yaml",
    "PASCAL VOC (JPEGImages/, SegmentationClass/)",
    "CamVid (train/, trainannot/, val/, valannot/)",
    "folders (images/ and masks/, or train/ and val/ each with both, or a.jpg beside a_mask.png)",
)
"""What is recognised, in the order in which it is tried."""

_READERS = (read_voc, read_camvid, read_folder)


def open_dataset(path: Path, *, val_share: float = VAL_SHARE, seed: int = 0) -> Dataset:
    """Recognise the data set in the folder `path` (or in the data.yaml `path`) and pair its images and masks.

    The layouts are tried in the order of `LAYOUTS`; the first that fits is taken. Where there is no val split, train is
    parted by `split_by_group` with `val_share` and `seed`. The headers of the first images say how all are read
    (`choose_pixels`). The result's `notes` tell what was decided and why.

    Raises DataError for a path that does not exist, a folder that is empty or in no known layout, images without masks
    or masks without images, or with other bands than a data.yaml says.
    """
    dataset = _recognised(path, SplitRule(val_share=val_share, seed=seed))
    return choose_pixels(dataset, dataset.bands)


def _recognised(path: Path, rule: SplitRule) -> Dataset:
    if path.is_file():
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise DataError(f"{path} is a file; expected a folder or a data.yaml. Name the folder that holds the data.")
        return read_described(path, rule)
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist; expected a folder of images and masks, or a data.yaml. "
            "Check the path; capital letters count."
        )
    if (path / DATA_FILE).is_file():
        return read_described(path / DATA_FILE, rule)
    tree = Tree(path)
    for reader in _READERS:
        dataset = reader(tree, rule)
        if dataset is not None:
            return dataset
    raise _not_recognised(tree)


def _not_recognised(tree: Tree) -> DataError:
    """Say what the folder holds, what was expected, and what to do."""
    pictures = tree.pictures(tree.root)
    found = f"{tree.root} holds {tree.describe(tree.root)}"
    if not pictures:
        state = f"{found}, and no pictures in it" if tree.describe(tree.root) != "nothing" else f"{tree.root} is empty"
    else:
        masks = [folder.name for folder in tree.folders(tree.root) if is_mask_folder(tree, folder)]
        lacking = f"no images for the masks in {', '.join(masks)}/" if masks else "no masks for them"
        state = f"{found}, {len(pictures)} pictures in all, but {lacking} were found"
        inner = _inner(tree)
        if inner is not None:
            state += f" ({inner[0].name}/ looks like {inner[1]}: name that folder)"
    if tree.left_out:
        state += f"; {len(tree.left_out)} symbolic links that lead out of it were not followed"
    return DataError(
        f"{state}. Known layouts: {'; '.join(LAYOUTS)}. "
        "Put masks into a folder masks/ beside images/, with the same names, or write a data.yaml that names the "
        "folders (train: {images: DIR, masks: DIR}, names: {0: background, 1: ...})."
    )


def _inner(tree: Tree) -> tuple[Path, str] | None:
    """A folder inside that would be recognised: people often name the folder above."""
    for folder in tree.folders(tree.root)[:8]:
        if (folder / DATA_FILE).is_file():
            return folder, "data.yaml"
        for reader in _READERS:
            try:
                dataset = reader(Tree(folder), SplitRule(val_share=VAL_SHARE, seed=0))
            except DataError:
                continue
            if dataset is not None:
                return folder, dataset.layout
    return None
