import errno
import os
from pathlib import Path

import pytest

from atrous.errors import OutputError
from atrous.files import make_folder, replacing, replacing_folder, sha256_of, write_atomically


def test_new_file_holds_the_content_and_nothing_else_is_left(tmp_path):
    write_atomically(tmp_path / "a.bin", b"content")
    assert (tmp_path / "a.bin").read_bytes() == b"content"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_old_file_is_replaced(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"a much longer old content")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_other_users_can_read_what_the_umask_lets_them(tmp_path):
    old = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a.bin", b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o644


def test_failure_in_the_body_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_temporary_file_lies_beside_and_keeps_the_suffix(tmp_path):
    with replacing(tmp_path / "model.safetensors") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".safetensors"
        assert not (tmp_path / "model.safetensors").exists()
        temporary.write_bytes(b"x")
    assert (tmp_path / "model.safetensors").read_bytes() == b"x"


def test_content_is_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b))[1])
    write_atomically(tmp_path / "a", b"x")
    assert order == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_keeps_the_old_file_and_says_how_much_is_free(tmp_path, monkeypatch, number):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"a\.bin was not written: .* MiB are free .* Free some space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_missing_permission_names_the_folder(tmp_path, monkeypatch, number):
    def fail(path, *_args, **_options):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OutputError, match=f"no permission to write in the folder {tmp_path}"):
        write_atomically(tmp_path / "a.bin", b"x")


def test_missing_folder_is_told(tmp_path):
    with pytest.raises(OutputError, match=rf"{tmp_path} is what exists of .*none.* Choose"):
        write_atomically(tmp_path / "none" / "a.bin", b"x")


def test_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        write_atomically(tmp_path / "file" / "a.bin", b"x")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        make_folder(tmp_path / "file")


def test_folder_in_place_of_the_file_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="is a folder, not a file"):
        write_atomically(tmp_path / "folder", b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_error_about_another_file_passes_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.bin"):
        (tmp_path / "elsewhere" / "b").read_bytes()


def test_name_of_255_bytes_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"


def test_make_folder_makes_parents_and_accepts_an_existing_one(tmp_path):
    made = make_folder(tmp_path / "a" / "b")
    assert made.is_dir()
    assert make_folder(made) == made


def test_sha256_of_a_known_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def is_ours(name):
    return name.endswith(".png")


def fill(path, *names):
    with replacing_folder(path, ours=is_ours) as temporary:
        for name in names:
            (temporary / name).write_bytes(name.encode())


def test_a_new_folder_appears_whole(tmp_path):
    with replacing_folder(tmp_path / "frames", ours=is_ours) as temporary:
        (temporary / "a.png").write_bytes(b"a")
        assert not (tmp_path / "frames").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]
    assert (tmp_path / "frames" / "a.png").read_bytes() == b"a"


def test_an_old_folder_of_ours_is_replaced(tmp_path):
    fill(tmp_path / "frames", "a.png", "b.png")
    fill(tmp_path / "frames", "c.png")
    assert [path.name for path in tmp_path.rglob("*")] == ["frames", "c.png"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ZeroDivisionError])
def test_a_failing_body_leaves_the_old_folder(tmp_path, failure):
    def fail():
        with replacing_folder(tmp_path / "frames", ours=is_ours) as temporary:
            (temporary / "b.png").write_bytes(b"b")
            raise failure

    fill(tmp_path / "frames", "a.png")
    with pytest.raises(failure):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == ["frames", "a.png"]


def test_a_folder_with_other_files_is_not_touched(tmp_path):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "letter.txt").write_text("x")
    with pytest.raises(OutputError, match=r"holds other files, such as letter.txt"):
        fill(tmp_path / "frames", "a.png")
    assert [path.name for path in tmp_path.rglob("*")] == ["frames", "letter.txt"]


def test_a_file_that_came_meanwhile_is_not_lost(tmp_path):
    def write():
        with replacing_folder(tmp_path / "f", ours=is_ours) as temporary:
            (temporary / "a.png").write_bytes(b"a")
            (tmp_path / "f").mkdir()
            (tmp_path / "f" / "letter.txt").write_text("x")

    with pytest.raises(OutputError, match=r"letter.txt"):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["f", "letter.txt"]


def test_a_file_or_a_link_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(OutputError, match="not a folder"):
            fill(tmp_path / name, "a.png")


def test_a_full_disk_leaves_the_old_folder(tmp_path, monkeypatch):
    fill(tmp_path / "frames", "a.png")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        fill(tmp_path / "frames", "b.png")
    assert [path.name for path in tmp_path.rglob("*")] == ["frames", "a.png"]
