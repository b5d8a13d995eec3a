"""kill -9 at any moment: the run resumes and ends bit for bit as if nothing had happened."""

import signal
import subprocess

import pytest
from killing import assert_equal_runs, resume, start

# The N-th file that is made: state files come third and later, after the configuration and the first model.
INSIDE_SAVES = [
    ("kill-while-writing", 2),
    ("kill-before-flush", 6),
    ("kill-before-rename", 9),
    ("kill-after-rename", 12),
    ("kill-while-writing", 5),
]


def finish_and_compare(run, whole):
    code, err = resume(run)
    assert code == 0 or "come to its end" in err, err
    assert_equal_runs(run, whole)


@pytest.mark.timeout(3600)
def test_killed_at_random_moments(scenes, whole, chance, full, tmp_path):
    folder, seconds = whole
    for number in range(45 if full else 2):
        run = tmp_path / f"run{number}"
        process = start(scenes, run)
        try:
            process.communicate(timeout=chance.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
        finish_and_compare(run, folder)


@pytest.mark.timeout(3600)
def test_killed_inside_saving(scenes, whole, full, tmp_path):
    folder, _ = whole
    for number, fault in enumerate(INSIDE_SAVES if full else INSIDE_SAVES[-1:]):
        run = tmp_path / f"run{number}"
        process = start(scenes, run, driver=map(str, fault))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        finish_and_compare(run, folder)
