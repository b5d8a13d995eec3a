"""`atrous predict`: masks and overlays for files, folders and globs."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from atrous.cli import console

__all__ = ["predict"]


def predict(
    model: str,
    /,
    *inputs: str,
    out: Path,
    save: str = "mask,overlay",
    simplify: float = 0,
    min_area: int = 1,
    scales: str = "1",
    flip: Annotated[bool, Parameter(negative="")] = False,
    device: str = "auto",
    engine: str = "auto",
) -> int:
    """Segment images; a bad file is reported and the rest go on (exit code 1).

    Parameters
    ----------
    model:
        A run folder or a .safetensors file.
    inputs:
        Files, folders (with everything below them) or globs.
    out:
        Where results go; the tree of the inputs is mirrored.
    save:
        What to write, with commas: mask (palette PNG), overlay (PNG), polygons (GeoJSON), table (CSV), scores (.npz),
        labelme (JSON); and for all images together coco (JSON), cvat (XML), tags (shares of the classes, CSV).
    simplify:
        Polygons with fewer points, within this many pixels of the exact border, which neighbours go on to share.
    min_area:
        Leave regions of fewer pixels out of polygons and tables.
    scales:
        Sizes at which every image enters, times its own, with commas; the probabilities of all are averaged.
    flip:
        Average with the mirrored image too.
    device:
        auto, cpu, cuda, cuda:N or mps.
    engine:
        auto, torch, plain (the network as it is), onnxruntime or openvino.
    """
    from atrous.cli.evaluate import parse_scales
    from atrous.collection import find_images, predict_files
    from atrous.errors import ConfigError
    from atrous.prediction import load
    from atrous.results import Wanted

    if not inputs:
        raise ConfigError(
            "no INPUT given; expected image files, folders or globs: atrous predict MODEL INPUT... --out DIR"
        )
    kinds = tuple(kind.strip() for kind in save.split(",") if kind.strip())
    wanted = Wanted(kinds=kinds, simplify=simplify, min_area=min_area)
    if wanted.ignored():
        console.note(wanted.ignored())
    files = find_images(inputs)
    views = {"scales": parse_scales(scales), "flip": flip}
    loaded = load(model, device=device, engine=engine)
    done = failed = 0
    for outcome in predict_files(loaded, files, out=out, wanted=wanted, **views):
        if outcome.error is None:
            done += not outcome.of_all
            for path in outcome.written:
                console.result(str(path))
        else:
            failed += 1
            console.complain(outcome.error)
        if console.is_live():
            console.status(f"{done + failed} of {len(files)} images")
    console.note(f"engine {loaded.engine.name} {loaded.engine.precision}: {loaded.engine.reason}")
    console.note(
        f"{done} images segmented into {out}" + (f", {failed} failed (see {out / 'errors.jsonl'})" if failed else "")
    )
    return 1 if failed else 0
