"""Fetching, from a server on this machine that does what servers do."""

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import atrous.download
import loopback
from atrous.claims import claimed
from atrous.download import PATIENCE, fetch, progress_text
from atrous.errors import DownloadError, OutputError
from atrous.files import open_unbuffered, write_all
from loopback import Loopback, chunked, hang_up, serve, silent_until, status, unmeasured

CONTENT = bytes(range(256)) * 40 + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = bytes(reversed(CONTENT))


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with loopback.running() as running:
        yield running


class Fetcher:
    """`fetch` to `target` that writes down how long it would have waited."""

    def __init__(self, server: Loopback, folder: Path) -> None:
        self.server = server
        self.target = folder / "file.bin"
        self.part = folder / "file.bin.part"
        self.waits: list[float] = []

    def __call__(self, **options) -> Path:
        if not {"hash_prefix", "md5"} & options.keys():
            options = {"sha256": SHA256} | options
        options = {"address": self.server.address, "target": self.target} | options
        return fetch(options.pop("address"), options.pop("target"), wait=self.waits.append, **options)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.target.parent.iterdir())


@pytest.fixture
def fetched(server: Loopback, tmp_path: Path) -> Fetcher:
    return Fetcher(server, tmp_path)


@pytest.mark.parametrize(
    "checksum", [{"sha256": SHA256}, {"hash_prefix": SHA256[:8]}, {"md5": hashlib.md5(CONTENT).hexdigest()}]
)
def test_the_whole_file_and_nothing_else(server, fetched, checksum):
    server.will(serve(CONTENT))
    told = []
    assert fetched(progress=lambda *sizes: told.append(sizes), **checksum) == fetched.target
    assert fetched.target.read_bytes() == CONTENT
    assert fetched.files() == ["file.bin"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert fetched.waits == []


def test_a_file_that_is_there_is_not_asked_for(server, fetched):
    server.will(serve(CONTENT))
    fetched()
    fetched()
    assert server.ranges == [None]
    fetched.target.write_bytes(OTHER)
    fetched()
    assert fetched.target.read_bytes() == CONTENT


def test_it_goes_on_where_the_connection_broke(server, fetched):
    server.will(serve(CONTENT, breaks_after=1000), serve(CONTENT, breaks_after=500), serve(CONTENT))
    told = []
    fetched(progress=lambda *sizes: told.append(sizes))
    assert fetched.target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-"]
    assert fetched.waits == [1, 2]
    assert {total for _, total in told} == {len(CONTENT)}


def test_a_later_call_goes_on_too(server, fetched, monkeypatch):
    monkeypatch.setattr(atrous.download, "PATIENCE", 1)
    server.will(serve(CONTENT, breaks_after=1000))
    with pytest.raises(
        DownloadError, match=rf"1000 of {len(CONTENT)} bytes.*run again: 1000 bytes are kept in .*\.part"
    ):
        fetched()
    assert fetched.files() == ["file.bin.part"]
    server.will(serve(CONTENT))
    fetched()
    assert server.ranges == ["bytes=1000-"]
    assert fetched.target.read_bytes() == CONTENT
    assert fetched.files() == ["file.bin"]


@pytest.mark.parametrize("left", [OTHER[:1000], OTHER, CONTENT + b"more"])
def test_a_part_of_another_file_is_thrown_away(server, fetched, left):
    server.will(serve(CONTENT))
    fetched.part.write_bytes(left)
    fetched()
    assert fetched.target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(left)}-", None]


def test_a_part_that_is_already_all_of_it(server, fetched):
    server.will(serve(CONTENT))
    fetched.part.write_bytes(CONTENT)
    fetched()
    assert fetched.target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_server_that_does_not_resume(server, fetched):
    server.will(serve(CONTENT, resumes=False))
    fetched.part.write_bytes(CONTENT[:1000])
    fetched()
    assert fetched.target.read_bytes() == CONTENT


@pytest.mark.parametrize("span", ["bytes 0-9/10", "bytes 7-9/*", "nonsense", "bytes -1-2/3"])
def test_a_server_that_sends_another_part(server, fetched, span):
    server.will(serve(CONTENT, span=span), serve(CONTENT))
    fetched.part.write_bytes(CONTENT[:1000])
    fetched()
    assert fetched.target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_a_length_that_is_too_large(server, fetched):
    server.will(serve(CONTENT, length=10))
    fetched()  # the rest is asked for, the server says that there is none, and the hash is right
    assert fetched.target.read_bytes() == CONTENT
    fetched.target.unlink()
    server.will(serve(CONTENT, length=10, resumes=False))
    with pytest.raises(DownloadError, match=rf"broke off after {len(CONTENT)} of {len(CONTENT) + 10} bytes"):
        fetched()
    assert len(server.ranges) == PATIENCE


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (serve(OTHER), f"another file: {len(OTHER)} bytes of application/octet-stream"),
        (serve(CONTENT, length=-10), f"another file: {len(CONTENT) - 10} bytes"),
        (serve(CONTENT + b"more"), "another file"),
        (serve(b""), "another file: 0 bytes"),
        (serve(b"<html>please log in</html>", media="text/html"), "text/html.*login page"),
        (unmeasured(CONTENT[:-1]), "another file"),
    ],
)
def test_another_file_never_gets_the_name(server, fetched, answer, found):
    server.will(answer)
    with pytest.raises(DownloadError, match=rf"{server.address} was not fetched: .*{found}.*") as caught:
        fetched()
    assert f"Expected the file with the SHA-256 {SHA256}" in str(caught.value)
    assert fetched.files() == []


def test_no_stated_length(server, fetched):
    server.will(unmeasured(CONTENT[:-5]), unmeasured(CONTENT))
    told = []
    fetched(progress=lambda *sizes: told.append(sizes))
    assert fetched.target.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), None)


def test_chunks(server, fetched):
    server.will(chunked(CONTENT, breaks_after=2000), chunked(CONTENT))
    fetched()
    assert fetched.target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=2000-"]
    assert fetched.waits == [1]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 416, 501])
def test_errors_that_stay_are_not_asked_again(server, fetched, code):
    server.will(status(code))
    with pytest.raises(DownloadError, match=rf"the server answered {code} .*Check the address"):
        fetched()
    assert len(server.ranges) == 1
    assert fetched.files() == []


@pytest.mark.parametrize("answer", [status(429), status(500), status(503), hang_up, serve(CONTENT, breaks_after=0)])
def test_errors_that_pass_are_asked_again(server, fetched, answer):
    server.will(answer, answer, serve(CONTENT))
    fetched()
    assert fetched.target.read_bytes() == CONTENT
    assert fetched.waits == [1, 2]
    fetched.target.unlink()
    server.will(answer)
    with pytest.raises(DownloadError, match=f"{PATIENCE} times in a row"):
        fetched()
    assert len(server.ranges) == PATIENCE


def test_progress_renews_the_patience(server, fetched, monkeypatch):
    monkeypatch.setattr(atrous.download, "ENOUGH_BYTES", 500)
    server.will(serve(CONTENT, breaks_after=500))
    fetched()
    assert fetched.target.read_bytes() == CONTENT
    assert len(server.ranges) > 2 * PATIENCE


def test_a_server_that_never_gives_the_right_file_is_left(server, fetched, monkeypatch):
    monkeypatch.setattr(atrous.download, "ENOUGH_BYTES", 500)
    server.will(serve(OTHER, breaks_after=5000))
    with pytest.raises(DownloadError, match="another file"):
        fetched()
    assert len(server.ranges) == 6


def test_a_silent_server(server, fetched, monkeypatch):
    monkeypatch.setattr(atrous.download, "PATIENCE", 1)
    end = threading.Event()
    server.will(silent_until(end))
    try:
        with pytest.raises(DownloadError, match="said nothing for too long"):
            fetched(timeout_seconds=0.02)
    finally:
        end.set()


def test_small_pieces(server, fetched):
    server.will(serve(CONTENT[:300], pieces=1))
    told = []
    fetched(sha256=hashlib.sha256(CONTENT[:300]).hexdigest(), progress=lambda *sizes: told.append(sizes))
    assert fetched.target.read_bytes() == CONTENT[:300]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_redirects_on_this_machine_are_followed_with_the_range(server, fetched):
    server.will(status(302, Location=f"{server.site}/elsewhere"), serve(CONTENT))
    fetched.part.write_bytes(CONTENT[:7])
    fetched()
    assert fetched.target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=7-", "bytes=7-"]


@pytest.mark.parametrize(
    "place",
    [
        "http://example.org/file.bin", "ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x", "http://localhost/x",
        "http://127.0.0.1@example.org/", "http://127.1/", "http://[::ffff:169.254.169.254]/", "http://0x7f.1/",
        "http://example.org\\@127.0.0.1/", "https://name:word@example.org/",
    ],
)  # fmt: skip
def test_redirects_elsewhere_are_not(server, fetched, place):
    server.will(status(302, Location=place))
    with pytest.raises(DownloadError, match=r"(?i)redirect") as caught:
        fetched()
    assert place.partition(":")[0] in str(caught.value)
    assert len(server.ranges) == 1
    assert fetched.files() == []


def test_redirects_in_a_circle_end(server, fetched):
    server.will(status(302, Location=server.address))
    with pytest.raises(DownloadError, match="the server answered 302"):
        fetched()
    assert len(server.ranges) < 10


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "example.org/x", "", "https://", "https:///x",
        "https://a@b/x", "https://a b/x", "https://a\\b/x", "https://[/x", "http://localhost/x", "http://10.0.0.1/x",
    ],
)  # fmt: skip
def test_addresses_that_are_not_asked(fetched, address):
    with pytest.raises(DownloadError, match=r"was not fetched: .*Expected the file.*Correct the address"):
        fetched(address=address)
    assert fetched.files() == []


def test_without_a_network_it_ends_at_once(fetched):
    with pytest.raises(DownloadError, match=r"no way to the server .*the tests have no network.*Check the network"):
        fetched(address="https://example.org/file.bin")
    with loopback.running() as gone:
        address = gone.address
    with pytest.raises(DownloadError, match="no way to the server"):
        fetched(address=address)
    assert fetched.waits == []


@pytest.mark.parametrize("answer", [serve(CONTENT), unmeasured(CONTENT)])
def test_too_long_a_file(server, fetched, answer):
    server.will(answer)
    with pytest.raises(DownloadError, match="longer than 1000 bytes"):
        fetched(max_bytes=1000)
    assert fetched.files() == []


def test_too_little_room(server, fetched, monkeypatch):
    monkeypatch.setattr(atrous.download.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    server.will(serve(CONTENT))
    with pytest.raises(OutputError, match=r"0 MB free.*Free some space, or set ATROUS_CACHE"):
        fetched()


def test_a_full_disk(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open_unbuffered(Path("/dev/full"), "r+b") as file, pytest.raises(OutputError, match="Free some space"):
        write_all(file, b"x")


def test_where_nothing_can_be_written(server, fetched, tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(OutputError, match="was not written"):
        fetched(target=tmp_path / "a file" / "file.bin")


def test_several_at_once(server, fetched):
    """All have begun before the first may end."""
    together = threading.Barrier(4, timeout=20)

    def answer(handler):
        together.wait()
        serve(CONTENT, pieces=1000)(handler)

    server.will(answer)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: fetched(), range(4)))
    assert done == [fetched.target] * 4
    assert fetched.target.read_bytes() == CONTENT
    assert fetched.files() == ["file.bin"]


def test_the_part_of_another_process_is_left_alone(server, fetched):
    server.will(serve(CONTENT))
    with claimed(fetched.target) as is_mine:
        assert is_mine
        fetched.part.write_bytes(b"theirs")
        fetched()
        assert fetched.part.read_bytes() == b"theirs"
    assert fetched.target.read_bytes() == CONTENT
    assert fetched.files() == ["file.bin", "file.bin.part"]


@pytest.mark.parametrize(
    "options", [{}, {"sha256": SHA256, "md5": "0" * 32}, {"hash_prefix": "abc"}, {"md5": "Z" * 32}]
)
def test_a_checksum_is_needed(tmp_path, options):
    with pytest.raises(ValueError, match="sha256"):
        fetch("https://example.org", tmp_path / "x", **options)


@settings(max_examples=30, deadline=None)
@given(
    ends=st.lists(st.tuples(st.integers(0, 900), st.booleans()), max_size=4),
    left=st.binary(max_size=6) | st.integers(0, len(CONTENT)).map(lambda size: CONTENT[:size]),
)
def test_whatever_happens_on_the_way_the_file_is_right(server, ends, left):
    server.will(*(serve(CONTENT, breaks_after=end, resumes=resumes) for end, resumes in ends), serve(CONTENT))
    with tempfile.TemporaryDirectory() as folder:
        fetched = Fetcher(server, Path(folder))
        fetched.part.write_bytes(left)
        fetched()
        assert fetched.target.read_bytes() == CONTENT
        assert fetched.files() == ["file.bin"]


def test_the_line_about_progress():
    assert progress_text("a.pth", 2**20, 3 * 2**20) == "fetching a.pth: 1.0 of 3.0 MB"
    assert progress_text("a.pth", 2**19, None) == "fetching a.pth: 0.5 MB"
