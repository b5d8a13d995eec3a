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
        What to write, with commas: mask (palette PNG), overlay (PNG with legend), polygons (GeoJSON), table (CSV).
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

    if not inputs:
        raise ConfigError(
            "no INPUT given; expected image files, folders or globs: atrous predict MODEL INPUT... --out DIR"
        )
    kinds = tuple(kind.strip() for kind in save.split(",") if kind.strip())
    files = find_images(inputs)
    views = {"scales": parse_scales(scales), "flip": flip}
    loaded = load(model, device=device, engine=engine)
    done = failed = 0
    for outcome in predict_files(loaded, files, out=out, save=kinds, **views):
        if outcome.error is None:
            done += 1
            if outcome.warning is not None:
                console.note(f"warning: {outcome.warning}")
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
