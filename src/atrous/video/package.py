"""PyAV, which is optional."""

from types import ModuleType

from atrous.errors import MissingExtraError

__all__ = ["pyav"]


def pyav() -> ModuleType:
    """The package `av`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise MissingExtraError(
            "videos are read and written with PyAV, which is not installed. Run: pip install 'atrous[video]'"
        ) from None
    return av
