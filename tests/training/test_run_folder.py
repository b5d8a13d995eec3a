"""States are replaced whole, the one before is kept, and a damaged one is passed over."""

import errno

import pytest
import torch

from atrous.errors import ConfigError, OutputError, WeightsError
from atrous.training.run_folder import RunFolder, new_run_folder


def state(step):
    return {"position": {"step": step}, "network": {"w": torch.full((50,), float(step))}}


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def step_of(run):
    said = []
    return run.read_state(said.append)["position"]["step"], said


def test_the_newest_state_is_read_and_the_one_before_kept(run):
    assert run.read_state(print) is None
    for step in (1, 2, 3):
        run.write_state(state(step))
    assert step_of(run) == (3, [])
    assert run.previous_state.exists()
    assert sorted(path.name for path in run.last.iterdir()) == ["previous.safetensors", "state.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_state_gives_way_to_the_one_before(run, damage):
    for step in (1, 2):
        run.write_state(state(step))
    whole = run.state.read_bytes()
    if damage == "cut":
        run.state.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        run.state.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    else:
        run.state.unlink()
    step, said = step_of(run)
    assert step == 1
    assert bool(said) == (damage != "gone")


def test_two_damaged_states_are_an_error(run):
    for step in (1, 2):
        run.write_state(state(step))
    for path in (run.state, run.previous_state):
        path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read"):
        run.read_state(lambda text: None)


def test_a_full_disk_keeps_what_was_saved(run, monkeypatch):
    run.write_state(state(1))

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("atrous.tensors.save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        run.write_state(state(2))
    assert step_of(run)[0] == 1
    assert [path.name for path in run.last.iterdir()] == ["state.safetensors"]


def test_what_a_killed_process_left_is_removed(run):
    run.write_state(state(1))
    left = [run.path / ".atrous-0123.png", run.last / ".atrous-4567.safetensors"]
    for path in left:
        path.write_bytes(b"half")
    other = run.path / "notes.txt"
    other.write_text("mine")
    run.clean()
    assert not any(path.exists() for path in left)
    assert other.exists()
    assert step_of(run)[0] == 1


def test_folders_are_numbered_and_never_overwritten(tmp_path):
    folders = [new_run_folder("a", root=tmp_path).path.name for _ in range(3)]
    assert folders == ["a-1", "a-2", "a-3"]
    assert (tmp_path / "latest").resolve().name == "a-3"
    (tmp_path / "a-1" / "file").touch()
    with pytest.raises(ConfigError, match="never overwritten"):
        new_run_folder("a", out=tmp_path / "a-1")
