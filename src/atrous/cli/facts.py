"""`atrous models`, `atrous info` and `atrous env`: what there is to choose from, what a file knows, what this machine is."""

from typing import Annotated

from cyclopts import Parameter

from atrous.cli import console

__all__ = ["env", "info", "models"]

_WORDS = {"network": "voc", "backbone": "imagenet"}  # what `--weights` calls them


def models(*, classes: int = 21, size: tuple[int, int] = (513, 513), fetch: str | None = None) -> int:
    """List the networks and the published weights; with --fetch, put weights into the cache folder.

    Parameters
    ----------
    classes:
        Number of classes that parameters and multiply-adds are counted for.
    size:
        Height and width of the image that multiply-adds are counted for, pixels.
    fetch:
        A network, a backbone or a file of the list: fetch its weights ahead. Several are written with commas.
    """
    if fetch is not None:
        return _fetch(fetch)
    if classes < 1 or min(size) < 1:
        from atrous.errors import ConfigError

        raise ConfigError(f"--classes {classes} --size {size[0]} {size[1]}: expected numbers of 1 or more.")
    _list_networks(classes, size)
    console.result("")
    _list_weights()
    return 0


def _fetch(names: str) -> int:
    """Fetch what a comma-separated list names; print where it is."""
    from atrous.catalogue import find_by_name, obtain
    from atrous.training.narrator import Narrator

    narrator = Narrator(console.note, console.status, live=console.is_live())
    for weights in [find_by_name(name.strip()) for name in names.split(",")]:
        console.result(str(obtain(weights, note=narrator.note, status=narrator.status)))
    return 0


def _list_networks(classes: int, size: tuple[int, int]) -> None:

    from atrous.catalogue import find_published
    from atrous.models import NETWORKS
    from atrous.models.backbone import OUTPUT_STRIDES
    from atrous.models.complexity import count_multiply_adds, count_parameters
    from atrous.models.shapes_only import shapes_only

    rows: list[list[str]] = []
    for name, build in NETWORKS.items():
        with shapes_only():
            network = build(classes)
        found = (find_published(name, kind="network"), find_published(name, kind="backbone"))
        words = [_WORDS[weights.kind] for weights in found if weights is not None]
        count, products = count_parameters(network), count_multiply_adds(network, size)
        stride = str(network.backbone.output_stride)
        rows.append([name, f"{count / 1e6:.2f}", f"{products / 1e9:.2f}", stride, ", ".join(words) or "none"])
    header = ["network", "million parameters", "billion multiply-adds", "output stride", "--weights"]
    console.print_table(rows, header=header)
    strides = ", ".join(str(stride) for stride in OUTPUT_STRIDES)
    console.result(f"for {classes} classes and an image of {size[0]}x{size[1]}; each runs at --output-stride {strides}")


def _list_weights() -> None:
    from atrous.cache import cache_folder
    from atrous.catalogue import PUBLISHED_WEIGHTS, locate
    from atrous.errors import WeightsError

    rows: list[list[str]] = []
    for weights in PUBLISHED_WEIGHTS:
        try:
            state = "yes" if locate(weights) else "no"
        except WeightsError:
            state = "damaged"
        row = [weights.file, _WORDS[weights.kind], weights.fits, weights.hash_prefix, weights.licence, state]
        rows.append([*row, f"{weights.score:g} % {weights.measured_on}"])
    header = ["published weights", "--weights", "for", "SHA-256 begins", "licence", "in cache", "score"]
    console.print_table(rows, header=header)
    console.result(f"cache folder: {cache_folder()} (set ATROUS_CACHE to move it); fetch ahead: --fetch NAME")


def info(model: str, /, *, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Show what a model file knows: network, classes, preprocessing, scores.

    Parameters
    ----------
    model:
        A run folder or a .safetensors file.
    json:
        Print one JSON object.
    """
    from atrous.prediction import load

    loaded = load(model, device="cpu")
    if json:
        console.print_json(loaded.metadata)
        return 0
    network = loaded.network
    parameters = sum(parameter.numel() for parameter in network.parameters())
    console.result(f"network      {getattr(network, 'name', '-')} {getattr(network, 'settings', '')}")
    console.result(f"parameters   {parameters:,}")
    console.result(f"classes      {loaded.labels.num_classes}: {', '.join(loaded.labels.names)}")
    console.result(f"ignore       {loaded.labels.ignore_index}")
    prepared = loaded.preprocessing
    kind = "" if prepared.pixels == "rgb" else f" of {prepared.pixels}, as the files hold them"
    console.result(
        f"input        {prepared.bands} bands{kind}, values {prepared.value_range[0]:g} to {prepared.value_range[1]:g}"
    )
    for number, (low, high) in enumerate(prepared.band_ranges or (), start=1):
        console.result(f"band {number:<8}{low:g} to {high:g} in nearly all training pixels")
    console.result(f"mean, std    {prepared.mean}, {prepared.std}")
    console.result(f"resize       {prepared.resize}{f' {prepared.resize_to}' if prepared.resize_to else ''}")
    scores = loaded.metadata.get("scores") or {}
    if scores:
        console.result(
            f"scores       mIoU {scores.get('miou')} on {scores.get('images')} images of split {scores.get('split')!r} "
            f"(data {scores.get('data_fingerprint')}, engine {scores.get('engine')} {scores.get('precision')})"
        )
    else:
        console.result("scores       none stored")
    console.result(f"made by      atrous {loaded.metadata.get('atrous_version', '?')}")
    return 0


def env() -> int:
    """Print versions, devices and optional packages, to paste into a bug report."""
    import os
    import platform

    import torch

    from atrous.environment import package_versions

    console.result(f"python       {platform.python_version()} on {platform.platform()}")
    for name, version in package_versions().items():
        console.result(f"{name:<12} {version}")
    console.result(
        f"cpu          {os.cpu_count()} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            console.result(f"cuda:{index}       {properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}")
    else:
        console.result("cuda         none")
    console.result(f"mps          {'yes' if torch.backends.mps.is_available() else 'none'}")
    return 0
