"""Unpacking archives that were made to hurt: nothing outside the root, nothing half, and the right error."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atrous.archives
from atrous.archives import Limits, unpack
from atrous.errors import DataError, OutputError

FILES = {"a.txt": b"one", "folder/b.bin": bytes(range(256)) * 3, "folder/deep/c": b"", "é ü.txt": b"name"}


def tar(*members: tuple, mode: str = "w", **options) -> bytes:
    """A tar of (name, content or None for a folder, attributes to set on its TarInfo)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, **options) as archive:  # pyright: ignore[reportCallIssue]
        for name, content, *rest in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(content)
            for key, value in (rest[0] if rest else {}).items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content or b""))
    return stream.getvalue()


def zipped(*members: tuple, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of (name, content, attributes to set on its ZipInfo)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content, *rest in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            for key, value in (rest[0] if rest else {}).items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return stream.getvalue()


def link(kind: bytes, target: str) -> dict:
    return {"type": kind, "linkname": target, "size": 0}


def pax(name: str, value: str) -> dict:
    return {"pax_headers": {name: value}}


def raw_name(content: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with a name exchanged for one of the same length, as no writer would write it."""
    assert len(old) == len(new)
    assert old in content
    return content.replace(old, new)


def patched_header(content: bytes, offset: int, value: bytes) -> bytes:
    """A tar whose first header holds `value` at `offset`, with its checksum put right."""
    header = bytearray(content[:512])
    header[offset : offset + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


def attribute(mode: int) -> dict:
    return {"external_attr": mode << 16, "create_system": 3}


CHAIN = [("/".join("abcdefgh"[: n + 1]), b"", link(tarfile.SYMTYPE, "d" * 247)) for n in range(8)]
SPARSE = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(2**50)}

HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "tar ..": ("leads out", lambda: tar(("../out", b"x"))),
    "tar inner ..": ("leads out", lambda: tar(("a/../../out", b"x"))),
    "tar absolute": ("not a path below", lambda: tar(("/tmp/atrous-hostile-out", b"x"))),
    "tar two slashes": ("not a path below", lambda: tar(("//server/out", b"x"))),
    "tar drive": ("not a path below", lambda: tar(("C:\\out", b"x"))),
    "tar drive with slash": ("not a path below", lambda: tar(("C:/out", b"x"))),
    "tar UNC": ("not a path below", lambda: tar(("\\\\server\\share\\out", b"x"))),
    "tar backslash ..": ("not a path below", lambda: tar(("..\\out", b"x"))),
    "tar stream of a file": ("not a path below", lambda: tar(("a.txt:hidden", b"x"))),
    "tar device name": ("no name on every", lambda: tar(("folder/NUL.txt", b"x"))),
    "tar dot at the end": ("no name on every", lambda: tar(("folder./x", b"x"))),
    "tar symlink then write": (
        "no plain file or folder",
        lambda: tar(("a", b"", link(tarfile.SYMTYPE, "..")), ("a/out", b"x")),
    ),
    "tar symlink to a file": ("no plain file or folder", lambda: tar(("a", b"", link(tarfile.SYMTYPE, "/etc/passwd")))),
    "tar hardlink": (
        "no plain file or folder",
        lambda: tar(("a", b"", link(tarfile.LNKTYPE, "../canary")), ("a", b"x")),
    ),
    "tar character device": ("no plain file or folder", lambda: tar(("a", b"", {"type": tarfile.CHRTYPE, "size": 0}))),
    "tar block device": ("no plain file or folder", lambda: tar(("a", b"", {"type": tarfile.BLKTYPE, "size": 0}))),
    "tar pipe": ("no plain file or folder", lambda: tar(("a", b"", {"type": tarfile.FIFOTYPE, "size": 0}))),
    "tar unknown type": ("no plain file or folder", lambda: tar(("a", b"x", {"type": b"Z"}))),
    "tar twice": ("is there twice", lambda: tar(("a", b"x"), ("a", b"y"))),
    "tar twice by dots": ("is there twice", lambda: tar(("a/b", b"x"), ("./a//b", b"y"))),
    "tar twice by case": ("is there twice", lambda: tar(("A.txt", b"x"), ("a.TXT", b"y"))),
    "tar twice by accent": ("is there twice", lambda: tar(("\u00e9", b"x"), ("e\u0301", b"y"))),
    "tar file as folder": ("lies in a file", lambda: tar(("a", b"x"), ("a/b", b"y"))),
    "tar folder as file": ("is there twice", lambda: tar(("a/b", b"x"), ("a", b"y"))),
    "tar folder after file": ("is there twice", lambda: tar(("a", b"x"), ("a", None))),
    "tar line break": ("no plain name", lambda: tar(("a\nb", b"x"))),
    "tar NUL in PAX": ("no plain name", lambda: tar(("a", b"x", pax("path", "b\0c")), format=tarfile.PAX_FORMAT)),
    "tar .. in PAX": ("leads out", lambda: tar(("a", b"x", pax("path", "../out")), format=tarfile.PAX_FORMAT)),
    "tar text turned": ("no plain name", lambda: tar(("photo\u202egpj.exe", b"x"))),
    "tar no UTF-8": ("UnicodeDecodeError", lambda: patched_header(tar(("aaaa", b"x")), 0, b"a\xff\xfea")),
    "tar long part": ("too long", lambda: tar(("a" * 256, b"x"))),
    "tar PATH_MAX chain": ("too long", lambda: tar(("/".join(["d" * 247] * 16) + "/x", b"x"))),
    "tar deep": ("too long", lambda: tar(("/".join("d" * 40), b"x"))),
    "tar symlink chain": ("no plain file or folder", lambda: tar(*CHAIN, ("h/out", b"x"))),
    "tar PAX header of gigabytes": (
        "header that is too long",
        lambda: patched_header(tar(("a", b"", {"type": b"x"})), 124, b"77777777777\0"),
    ),
    "tar long name of gigabytes": (
        "header that is too long",
        lambda: patched_header(tar(("a", b"", {"type": b"L"})), 124, b"77777777777\0"),
    ),
    "tar size below 0": ("size below 0", lambda: patched_header(tar(("a", b"x")), 124, b"\xff" * 12)),
    "tar larger than it is": ("ends too early", lambda: patched_header(tar(("a", b"x")), 124, b"00000100000\0")),
    "tar cut off": ("ends too early", lambda: tar(("a", bytes(5000)))[:1000]),
    "tar cut off between": ("damaged or cut off", lambda: tar(("a", b"x"), ("b", b"y"))[:1024]),
    "tar damaged header": ("damaged or cut off", lambda: raw_name(tar(("a", b"x"), ("bbbb", b"y")), b"bbbb", b"cccc")),
    "tar sparse": (
        "no plain file or folder",
        lambda: tar(("a", b"", {"pax_headers": SPARSE}), format=tarfile.PAX_FORMAT),
    ),
    "tar old sparse": ("no plain file or folder", lambda: tar(("a", b"", {"type": tarfile.GNUTYPE_SPARSE}))),
    "gz bomb": ("too large", lambda: gzip.compress(tar(("a", bytes(20_000_000))))),
    "gz bomb that is not wanted": (
        "too large",
        lambda: gzip.compress(tar(("skipped", bytes(20_000_000)), ("a", b"x"))),
    ),
    "gz cut off": ("EOFError", lambda: gzip.compress(tar(("a", os.urandom(5000))))[:2000]),
    "gz of no tar": ("ReadError", lambda: gzip.compress(b"hello" * 1000)),
    "gz wrong sum": ("CRC", lambda: gzip.compress(tar(("a", b"x")))[:-8] + bytes(8)),
    "zip ..": ("leads out", lambda: zipped(("../out", b"x"))),
    "zip absolute": ("not a path below", lambda: zipped(("/tmp/atrous-hostile-out", b"x"))),
    "zip drive": ("not a path below", lambda: zipped(("C:/out", b"x"))),
    "zip backslash": ("not a path below", lambda: raw_name(zipped(("....out", b"x")), b"....out", b"..\\\\out")),
    "zip symlink": ("no plain file or folder", lambda: zipped(("a", b"/etc/passwd", attribute(stat.S_IFLNK | 0o777)))),
    "zip device": ("no plain file or folder", lambda: zipped(("a", b"", attribute(stat.S_IFCHR | 0o777)))),
    "zip NUL": ("no plain name", lambda: raw_name(zipped(("a?b.txt", b"x")), b"a?b.txt", b"a\0b.txt")),
    "zip twice": ("is there twice", lambda: twice()),
    "zip bomb": ("too large", lambda: zipped(("a", bytes(20_000_000)))),
    "zip says less than it holds": ("BadZipFile", lambda: understated()),
    "zip encrypted": ("encrypted", lambda: encrypted()),
    "zip bzip2": ("compressed in a way", lambda: zipped(("a", b"x" * 100), method=zipfile.ZIP_BZIP2)),
    "zip wrong sum": (
        "BadZipFile",
        lambda: raw_name(zipped(("a", b"content"), method=zipfile.ZIP_STORED), b"content", b"CONTENT"),
    ),
    "zip cut off": ("BadZipFile", lambda: zipped(("a", os.urandom(5000)))[:2000]),
    "page": ("ReadError", lambda: b"<html>" + b"login" * 200),
    "empty": ("no .tar", lambda: b""),
    "zeros": ("no .tar", lambda: bytes(10240)),
}


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return zipped(("a", b"x"), ("a", b"y"))


def understated() -> bytes:
    content = bytes(3_000_000)
    made = zipped(("a", content))
    return raw_name(made, len(content).to_bytes(4, "little"), (100).to_bytes(4, "little"))


def encrypted() -> bytes:
    made = bytearray(zipped(("a", b"x")))
    made[6] |= 1
    made[made.index(b"PK\x01\x02") + 8] |= 1
    return bytes(made)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_hostile_archive_stays(name, tmp_path):
    archive = tmp_path / "archive"
    reason, make = HOSTILE[name]
    archive.write_bytes(make())
    (tmp_path / "canary").write_bytes(b"sings")
    before = tree(tmp_path)
    root = tmp_path / "root" / "inner"
    with pytest.raises(DataError, match=rf"not unpacked: .*{reason}.*Expected plain files.*Fetch it again") as caught:
        unpack(archive, root, place=lambda path: None if path.name == "skipped" else path)
    assert str(archive) in str(caught.value)
    assert tree(tmp_path) == {**before, "root": None}
    assert not Path("/tmp/atrous-hostile-out").exists()


@pytest.mark.parametrize(
    "content",
    [
        tar(*FILES.items(), ("empty", None), ("folder", None)),
        tar(("./", None), *((f"./{name}", data) for name, data in FILES.items()), ("empty/", None)),
        tar(*FILES.items(), ("empty", None), mode="w:gz"),
        tar(*FILES.items(), ("empty", None), format=tarfile.PAX_FORMAT),
        zipped(*FILES.items(), ("empty/", b"")),
        zipped(*FILES.items(), ("empty/", b""), method=zipfile.ZIP_STORED),
    ],
)
def test_plain_archives(content, tmp_path):
    (tmp_path / "archive").write_bytes(content)
    told = []
    assert unpack(tmp_path / "archive", tmp_path / "new" / "root", progress=told.append) == len(FILES)
    expected = {**FILES, "empty": None, "folder": None, "folder/deep": None}
    assert tree(tmp_path / "new" / "root") == expected
    assert told == [1, 2, 3, 4]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["root"]


def test_names_longer_than_an_old_header(tmp_path):
    name = "/".join(["x" * 120] * 4)
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        (tmp_path / "archive").write_bytes(tar((name, b"x"), format=format))
        unpack(tmp_path / "archive", tmp_path / str(format))
        assert (tmp_path / str(format) / name).read_bytes() == b"x"


def test_modes_of_the_archive_are_not_taken(tmp_path):
    (tmp_path / "archive").write_bytes(tar(("a", b"x", {"mode": 0o6777}), ("b", None, {"mode": 0})))
    unpack(tmp_path / "archive", tmp_path / "root")
    assert (tmp_path / "root" / "a").stat().st_mode & 0o7111 == 0
    assert os.access(tmp_path / "root" / "b", os.R_OK | os.W_OK | os.X_OK)


def test_only_what_is_wanted_and_where(tmp_path):
    (tmp_path / "archive").write_bytes(tar(*FILES.items()))

    def place(path: PurePosixPath) -> PurePosixPath | None:
        return PurePosixPath("here", path.name) if path.parts[0] == "folder" else None

    assert unpack(tmp_path / "archive", tmp_path / "root", place=place) == 2
    assert tree(tmp_path / "root") == {"here": None, "here/b.bin": FILES["folder/b.bin"], "here/c": b""}


def test_a_place_outside_is_refused_too(tmp_path):
    (tmp_path / "archive").write_bytes(tar(("a", b"x")))
    for place in ("../out", "/tmp/atrous-hostile-out"):
        with pytest.raises(DataError, match="leads out"):
            unpack(tmp_path / "archive", tmp_path / "root", place=lambda path, place=place: PurePosixPath(place))
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("limits", [Limits(members=2), Limits(total_bytes=500)])
@pytest.mark.parametrize("content", [tar(*FILES.items()), zipped(*FILES.items())])
def test_limits(content, limits, tmp_path):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(DataError, match="too "):
        unpack(tmp_path / "archive", tmp_path / "root", limits=limits)
    assert not (tmp_path / "root").exists()


def test_an_archive_in_an_archive_stays_one(tmp_path):
    """42.zip is five levels of these."""
    inner = zipped(("bomb", bytes(1_000_000)))
    (tmp_path / "archive").write_bytes(zipped(*((f"{index}.zip", inner) for index in range(16))))
    assert unpack(tmp_path / "archive", tmp_path / "root") == 16
    assert (tmp_path / "root" / "3.zip").read_bytes() == inner


def test_a_folder_that_is_there(tmp_path):
    (tmp_path / "archive").write_bytes(tar(("a", b"x")))
    (tmp_path / "root").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        unpack(tmp_path / "archive", tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_no_archive(tmp_path):
    with pytest.raises(DataError, match="FileNotFoundError"):
        unpack(tmp_path / "nothing", tmp_path / "root")


def test_a_full_disk_is_told_as_such(tmp_path, monkeypatch):
    def full(file, content):
        raise OutputError("disk full")

    monkeypatch.setattr(atrous.archives, "write_all", full)
    (tmp_path / "archive").write_bytes(tar(("a", b"x")))
    with pytest.raises(OutputError, match="disk full"):
        unpack(tmp_path / "archive", tmp_path / "root")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


PLAIN = [
    tar(*FILES.items()),
    tar(*FILES.items(), format=tarfile.PAX_FORMAT),
    gzip.compress(tar(*FILES.items()), mtime=0),
    zipped(*FILES.items()),
]


@settings(max_examples=150, deadline=None)
@given(
    content=st.sampled_from(PLAIN),
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.none() | st.integers(0, 2**13),
)
def test_damaged_archives_give_all_or_our_error(content, changes, cut):
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "archive").write_bytes(damaged[:cut])
        try:
            unpack(home / "archive", home / "root")
        except DataError:
            assert [path.name for path in home.iterdir()] == ["archive"]
        else:
            assert {path.name for path in home.iterdir()} == {"archive", "root"}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["..", ".", "", "a", "B", "\\", "C:", "~", "x ", "nul", "\u202e"]), min_size=1, max_size=5)
)
def test_no_name_leads_out(parts):
    name = "/".join(parts)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "one" / "two"
        home.mkdir(parents=True)
        (home / "archive").write_bytes(tar((name, b"x")))
        try:
            unpack(home / "archive", home / "root")
        except DataError:
            pass
        else:
            assert ".." not in parts
        assert {path.name for path in home.iterdir()} <= {"archive", "root"}
        assert [path.name for path in Path(folder).iterdir()] == ["one"]
