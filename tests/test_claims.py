import subprocess
import sys
from pathlib import Path

import pytest

from atrous.claims import claimed
from atrous.errors import OutputError

OTHER = """
import sys
from pathlib import Path
from atrous.claims import claimed
with claimed(Path(sys.argv[1])) as is_mine:
    print(is_mine, flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time_and_nothing_left(tmp_path):
    for _ in range(3):
        with claimed(tmp_path / "a") as first, claimed(tmp_path / "a") as second, claimed(tmp_path / "b") as other:
            assert (first, second, other) == (True, False, True)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_ends_with_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "a"):
        raise ZeroDivisionError
    with claimed(tmp_path / "a") as is_mine:
        assert is_mine


def test_a_killed_process_leaves_no_claim(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, tmp_path / "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with claimed(tmp_path / "a") as is_mine:
            assert not is_mine
        process.kill()
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".atrous-a.lock"]
    with claimed(tmp_path / "a") as is_mine:
        assert is_mine
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_removed_meanwhile_counts_for_nothing(tmp_path, monkeypatch):
    """Its owner removes it between our opening and our locking."""
    lock = tmp_path / ".atrous-a.lock"
    calls = iter([lock.unlink, lambda: None])
    original = sys.modules["atrous.claims"]._lock

    def late(file):
        next(calls)()
        original(file)

    monkeypatch.setattr("atrous.claims._lock", late)
    with claimed(tmp_path / "a") as is_mine:
        assert is_mine
        assert lock.exists()


def test_a_folder_that_is_not_there():
    with pytest.raises(OutputError), claimed(Path("/nowhere/at/all")):
        pass
