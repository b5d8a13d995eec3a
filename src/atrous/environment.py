"""The versions that a result depends on."""

from importlib import metadata

from atrous.version import __version__

__all__ = ["package_versions"]

PACKAGES = ("torch", "numpy", "pillow", "opencv-python-headless", "safetensors", "simplejpeg", "numba")


def package_versions() -> dict[str, str]:
    """Package name -> installed version, "not installed" for a missing optional one."""
    versions = {"atrous": __version__}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
