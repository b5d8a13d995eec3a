"""A disk that fills up while a run works: the error says so, the last good files load, and the run resumes."""

import pytest
from killing import assert_equal_runs, resume, start

import atrous as library
from atrous.states import load_state

STATE_BYTES = 30_000_000  # about what a state of the tiny training takes


@pytest.mark.timeout(3600)
def test_disk_full_at_many_levels(scenes, whole, full, small_disk):
    folder, _ = whole
    levels = 20 if full else 2
    ended = []
    for level in range(levels):
        run = small_disk / f"run{level}"
        free = int(1.5 * STATE_BYTES * level / levels)
        process = start(scenes, run, driver=("fill-disk", "5", str(free)))
        _, err = process.communicate()
        ended.append(process.returncode)
        if process.returncode:
            assert process.returncode == 2, err
            assert "No space left" in err
            assert "Traceback" not in err
            assert f"atrous train --resume {run}" in err
            load_state(run / "last/state.safetensors")
            library.load(run)
            assert not list(run.rglob(".atrous-*"))
            (small_disk / "filler").unlink()
            code, err = resume(run)
            assert code == 0, err
        else:
            (small_disk / "filler").unlink()
        assert_equal_runs(run, folder)
        for path in sorted(run.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert ended[0] == 2  # the disk did fill up
