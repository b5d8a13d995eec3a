"""Rows that were kept are the rows that were given, also after the process was killed or the files were damaged."""

import json
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atrous.errors import OutputError
from atrous.rasters import RowStore
from atrous.rasters import rows as rows_module

SIZE = (40, 23)
JOB = {"key": "image+model+settings", "size": SIZE, "dtype": np.uint8}


def rows_of(start, stop, dtype=np.uint8, width=SIZE[1]):
    """Rows that tell which they are."""
    values = np.arange(start, stop)[:, None] * 131 + np.arange(width)[None] * 7
    return (values % np.iinfo(dtype).max).astype(dtype)


def everything(store, piece=7):
    return np.concatenate([np.empty((0, store.size[1]), store.dtype), *store.read(piece)])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heights=st.lists(st.integers(0, 12), max_size=8),
    reopened=st.lists(st.booleans(), min_size=8, max_size=8),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    piece=st.integers(1, 50),
)
def test_what_is_read_is_what_was_appended(tmp_path_factory, heights, reopened, dtype, piece):
    folder = tmp_path_factory.mktemp("store") / ".out.partial"
    job = {**JOB, "dtype": dtype}
    store = RowStore.open(folder, **job)
    done = 0
    for height, again in zip(heights, reopened, strict=False):
        height = min(height, SIZE[0] - done)
        store.append(rows_of(done, done + height, dtype))
        done += height
        if again:
            with store:
                pass
            store = RowStore.open(folder, **job)
        assert store.rows_done == done
    found = everything(store, piece)
    assert found.dtype == dtype
    assert np.array_equal(found, rows_of(0, done, dtype))
    store.remove()
    assert not folder.exists()


def kept(folder, rows=20):
    with RowStore.open(folder, **JOB) as store:
        store.append(rows_of(0, rows))
    return folder


@pytest.mark.parametrize("change", [{"key": "other"}, {"size": (41, 23)}, {"size": (40, 46)}, {"dtype": np.uint16}])
def test_another_job_begins_anew(tmp_path, change):
    with RowStore.open(kept(tmp_path / "store"), **{**JOB, **change}) as store:
        assert store.rows_done == 0
        assert everything(store).size == 0
    assert (tmp_path / "store" / "rows.bin").stat().st_size == 0


@pytest.mark.parametrize(("left", "rows"), [(19 * 23 + 22, 19), (5 * 23, 5), (3, 0), (0, 0)])
def test_a_shortened_file_is_used_as_far_as_it_is_whole(tmp_path, left, rows):
    folder = kept(tmp_path / "store")
    os.truncate(folder / "rows.bin", left)
    with RowStore.open(folder, **JOB) as store:
        assert store.rows_done == rows
        store.append(rows_of(rows, 40))
        assert np.array_equal(everything(store), rows_of(0, 40))


def test_bytes_after_the_noted_rows_are_cut(tmp_path):
    folder = kept(tmp_path / "store")
    with (folder / "rows.bin").open("ab") as file:
        file.write(b"half a row")
    with RowStore.open(folder, **JOB) as store:
        assert store.rows_done == 20
        store.append(rows_of(20, 40))
        assert np.array_equal(everything(store), rows_of(0, 40))


def test_a_changed_byte_begins_anew(tmp_path):
    folder = kept(tmp_path / "store")
    content = bytearray((folder / "rows.bin").read_bytes())
    content[100] ^= 1
    (folder / "rows.bin").write_bytes(content)
    with RowStore.open(folder, **JOB) as store:
        assert store.rows_done == 0


@pytest.mark.parametrize(
    "text", ["", "null", "[" * 100_000, "{", '{"rows": 20}', "RIGHT rows -1", "RIGHT rows 41", 'RIGHT rows "20"']
)
def test_a_damaged_note_begins_anew(tmp_path, text):
    folder = kept(tmp_path / "store")
    note = folder / "rows.json"
    if text.startswith("RIGHT"):
        _, name, value = text.split()
        text = json.dumps({**json.loads(note.read_text()), name: json.loads(value)})
    note.write_text(text)
    with RowStore.open(folder, **JOB) as store:
        assert store.rows_done == 0


def test_the_note_never_runs_ahead_of_the_data(tmp_path, monkeypatch):
    """The data are flushed before the note is written: the order is what a loss of power tests."""
    happened = []
    monkeypatch.setattr(rows_module.os, "fsync", lambda descriptor: happened.append("data"))
    monkeypatch.setattr(
        rows_module, "write_atomically", lambda path, content: happened.append(json.loads(content)["rows"])
    )
    store = RowStore.open(tmp_path / "store", **JOB)
    store.append(rows_of(0, 40))
    assert happened == ["data", 0, "data", 40]
    store.remove()


def test_rows_that_do_not_belong_are_refused(tmp_path):
    with RowStore.open(tmp_path / "store", **JOB) as store:
        for wrong in (rows_of(0, 2, np.uint16), rows_of(0, 2, width=22), rows_of(0, 41), rows_of(0, 2)[0]):
            with pytest.raises(ValueError, match="rows"):
                store.append(wrong)
        assert store.rows_done == 0
    with pytest.raises(ValueError, match="uint8 or uint16"):
        RowStore.open(tmp_path / "other", **{**JOB, "dtype": np.int64})


def test_a_folder_that_cannot_be_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        RowStore.open(tmp_path / "file" / "store", **JOB)


def test_other_files_in_the_folder_stay(tmp_path):
    folder = kept(tmp_path / "store")
    (folder / "mine.txt").write_text("mine")
    RowStore.open(folder, **JOB).remove()
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]


CHILD = """
import sys
import numpy as np
from pathlib import Path
from atrous.rasters import RowStore, rows
rows._SYNC_BYTES = 300_000  # a note now and then, and rows behind it that are lost
size = (2000, 1000)
with RowStore.open(Path(sys.argv[1]), key="job", size=size, dtype=np.uint16) as store:
    print(store.rows_done, flush=True)
    while store.rows_done < size[0]:
        start, stop = store.rows_done, min(store.rows_done + 13, size[0])
        values = np.arange(start, stop)[:, None] * 131 + np.arange(size[1])[None] * 7
        store.append((values % 65535).astype(np.uint16))
        print(store.rows_done, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="kills with a signal")
def test_killed_at_random_it_goes_on_and_ends_with_the_same_bytes(tmp_path):
    rng = random.Random(5)
    folder = tmp_path / "store"
    starts = []
    for attempt in range(5):
        child = subprocess.Popen([sys.executable, "-c", CHILD, folder], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        starts.append(int(child.stdout.readline()))
        if attempt < 4:
            for _ in range(rng.randint(10, 40)):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        child.stdout.read()
        child.stdout.close()
        assert child.wait() == (-signal.SIGKILL if attempt < 4 else 0)
    assert starts == sorted(starts)
    assert 0 < starts[-1] < 2000
    with RowStore.open(folder, key="job", size=(2000, 1000), dtype=np.uint16) as store:
        assert store.rows_done == 2000
        assert np.array_equal(everything(store, 300), rows_of(0, 2000, np.uint16, 1000))
