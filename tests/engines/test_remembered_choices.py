"""What trials found is kept for the next process on the same machine, and a file of anything else counts for nothing."""

import json

import pytest
import torch

from atrous.engines import remembered
from atrous.engines.remembered import read_choices, write_choices
from atrous.polyphase import choice

FOUND = {
    (64, 32, 1, 65, 65, 1, True): ("F4", {"plain": 2.0, "F4": 1.0}),
    (16, 16, 12, 33, 33, 1, False): ("plain", {"plain": 1.0, "P3": 2.5}),
}


@pytest.fixture(autouse=True)
def found(monkeypatch, cache):
    """What this process has found."""
    monkeypatch.setattr(choice, "_found", dict(FOUND))
    return lambda: choice._found


def another_process(monkeypatch):
    monkeypatch.setattr(choice, "_found", {})


def test_the_next_process_knows_them(monkeypatch, cache):
    write_choices()
    another_process(monkeypatch)
    read_choices()
    assert choice._found == FOUND
    assert [path.name for path in cache.iterdir()] == ["convolutions.json"]


def test_without_a_file_nothing_is_known(monkeypatch):
    another_process(monkeypatch)
    read_choices()
    assert choice._found == {}


def test_what_a_process_found_itself_stays(monkeypatch):
    write_choices()
    key = next(iter(FOUND))
    own = ("F6", {"plain": 2.0, "F6": 1.0})
    monkeypatch.setattr(choice, "_found", {key: own})
    read_choices()
    assert choice._found == FOUND | {key: own}


def other_threads(monkeypatch, document):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)


def other_processor(monkeypatch, document):
    monkeypatch.setattr(remembered.platform, "processor", lambda: "abacus")


def other_instructions(monkeypatch, document):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "BEADS")


def other_packages(monkeypatch, document):
    monkeypatch.setattr(remembered, "package_versions", lambda: {"torch": "0.1"})


def no_machine(monkeypatch, document):
    del document["made_on"]


def less_told(monkeypatch, document):
    del document["made_on"]["threads"]


@pytest.mark.parametrize(
    "other", [other_threads, other_processor, other_instructions, other_packages, no_machine, less_told]
)
def test_what_another_machine_found_counts_for_nothing(monkeypatch, cache, other):
    write_choices()
    file = cache / "convolutions.json"
    document = json.loads(file.read_text())
    other(monkeypatch, document)
    file.write_text(json.dumps(document))
    another_process(monkeypatch)
    read_choices()
    assert choice._found == {}


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"3", b'"text"', b"\xff\xfe\x00", b"{}"])
def test_a_file_that_is_none_counts_for_nothing(monkeypatch, cache, content):
    cache.mkdir()
    (cache / "convolutions.json").write_bytes(content)
    another_process(monkeypatch)
    read_choices()
    assert choice._found == {}


GOOD = {"geometry": [16, 16, 1, 9, 9, 1, True], "way": "F4", "seconds": {"plain": 2.0, "F4": 1.0}}


@pytest.mark.parametrize(
    "choices",
    [
        None,
        5,
        "F4",
        {"F4": 1},
        [5],
        [None],
        [[]],
        [{}],
        [{**GOOD, "geometry": 3}],
        [{**GOOD, "geometry": ["16", 16]}],
        [{**GOOD, "geometry": [[16], 16]}],
        [{**GOOD, "seconds": []}],
        [{**GOOD, "seconds": None}],
        [{**GOOD, "seconds": {"plain": "fast", "F4": 1.0}}],
        [{**GOOD, "seconds": {"plain": None, "F4": 1.0}}],
        [{**GOOD, "seconds": {"F4": 1.0}}],
        [{**GOOD, "way": "F9"}],
        [{**GOOD, "way": None}],
    ],
    ids=str,
)
def test_choices_that_are_none_count_for_nothing(monkeypatch, cache, choices):
    cache.mkdir()
    document = {"made_on": remembered._machine(), "choices": choices}
    (cache / "convolutions.json").write_text(json.dumps(document))
    another_process(monkeypatch)
    read_choices()
    assert choice._found == {}


def test_good_ones_are_read_from_such_a_file(monkeypatch, cache):
    """So that the test before can fail."""
    cache.mkdir()
    (cache / "convolutions.json").write_text(json.dumps({"made_on": remembered._machine(), "choices": [GOOD]}))
    another_process(monkeypatch)
    read_choices()
    assert choice._found == {tuple(GOOD["geometry"]): ("F4", GOOD["seconds"])}


def test_a_folder_that_cannot_be_written_is_no_obstacle(cache):
    cache.write_text("a file in the way")
    write_choices()
    read_choices()
    assert cache.read_text() == "a file in the way"
    assert choice._found == FOUND


def test_it_holds_no_matter_what_was_there(cache):
    cache.mkdir()
    (cache / "convolutions.json").write_bytes(b"\x00damaged")
    write_choices()
    assert len(json.loads((cache / "convolutions.json").read_text())["choices"]) == 2
