"""`atrous models`, `atrous info` and `atrous env`: what there is to choose from, what a file knows, what this machine is."""

from typing import Annotated

from cyclopts import Parameter

from atrous.cli import console

__all__ = ["env", "info", "models"]


def models(*, classes: int = 21) -> int:
    """List the networks: parameters, output stride, and published weights.

    Parameters
    ----------
    classes:
        Number of classes that the parameters are counted for.
    """
    import torch

    from atrous.catalogue import find_published
    from atrous.models import NETWORKS

    rows: list[list[str]] = []
    for name, build in NETWORKS.items():
        with torch.device("meta"):
            network = build(classes)
        count = sum(parameter.numel() for parameter in network.parameters())
        published = find_published(name)
        rows.append(
            [name, f"{count / 1e6:.1f}", str(network.backbone.output_stride), published.file if published else "-"]
        )
    console.print_table(rows, header=["network", "million parameters", "output stride", "published weights"])
    return 0


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
    console.result(
        f"input        {prepared.bands} bands, values {prepared.value_range[0]:g} to {prepared.value_range[1]:g}"
    )
    console.result(f"mean, std    {prepared.mean}, {prepared.std}")
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
