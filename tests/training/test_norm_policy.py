"""Which norms a run trains: by rule or as asked, with the reason."""

import pytest

from atrous.errors import ConfigError
from atrous.training.norm_policy import choose_norms


def choose(asked="auto", *, start="backbone", part=8, network=None, can_group=True):
    reasons: list[str] = []
    settings, norms = choose_norms(
        asked, network=network or {}, start=start, part=part, can_group=can_group, reasons=reasons
    )
    return settings.get("norm"), norms, reasons


@pytest.mark.parametrize("start", ["network", "backbone", "nothing"])
def test_batches_that_are_large_enough_train_their_statistics(start):
    assert choose(start=start) == (None, "none", [])


@pytest.mark.parametrize(
    ("start", "can_group", "expected"),
    [
        ("network", True, (None, "all")),
        ("backbone", True, ("group-head", "backbone")),
        ("backbone", False, ("group-head", "backbone")),
        ("nothing", True, ("group", "none")),
        ("nothing", False, ("group-head", "none")),
    ],
)
@pytest.mark.parametrize("part", [1, 7])
def test_small_ones_do_not(start, can_group, expected, part):
    *chosen, reasons = choose(start=start, can_group=can_group, part=part)
    assert tuple(chosen) == expected
    assert len(reasons) == 1
    assert f"{part} image" in reasons[0]


def test_what_is_asked_for_is_done():
    assert choose("train", part=2)[:2] == (None, "none")
    assert "as asked" in choose("train", part=2)[2][0]
    assert choose("freeze")[:2] == (None, "backbone")
    assert choose("freeze", start="network")[:2] == (None, "all")
    assert choose("group")[:2] == ("group-head", "backbone")
    assert choose(part=1, network={"norm": "frozen"}) == ("frozen", "none", [])


@pytest.mark.parametrize(
    ("asked", "options", "message"),
    [
        ("freeze", {"start": "nothing"}, "--weights none has none"),
        ("group", {"start": "network"}, "a whole network with batch norm"),
        ("group", {"network": {"norm": "batch"}}, "both given"),
    ],
)
def test_contradictions_are_told(asked, options, message):
    with pytest.raises(ConfigError, match=message):
        choose(asked, **options)
