"""The settings of foreign networks: what was given over the defaults, checked."""

from collections.abc import Mapping, Sequence

from atrous.errors import ConfigError
from atrous.models.backbone import OUTPUT_STRIDES

__all__ = ["complete"]

EXPECTED = {
    bool: "True or False",
    int: "a positive whole number",
    float: "a number from 0 to below 1",
    tuple: "a list of positive whole numbers",
}


def complete(name: str, defaults: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """Return every setting of the network `name`: `given` over `defaults`, lists as tuples.

    A value must be of its default's kind. Raises ConfigError for one that is not, and for an unknown name.
    """
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ConfigError(
            f"{name} has no setting {', '.join(map(repr, unknown))}. Its settings are {', '.join(sorted(defaults))}. "
            "Correct the name or leave it out."
        )
    settings: dict[str, object] = {}
    for key, default in defaults.items():
        value = given.get(key, default)
        expected = "8, 16 or 32" if key == "output_stride" else EXPECTED[type(default)]
        if not _is_like(default, value) or (key == "output_stride" and value not in OUTPUT_STRIDES):
            raise ConfigError(f"{name}: {key} is {value!r}. It must be {expected}. Change it or leave it out.")
        settings[key] = tuple(value) if isinstance(value, Sequence) else value
    return settings


def _is_like(default: object, value: object) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int):
        return isinstance(value, int) and value > 0
    if isinstance(default, float):
        return isinstance(value, int | float) and 0 <= value < 1
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    return all(isinstance(item, int) and not isinstance(item, bool) and item > 0 for item in value)
