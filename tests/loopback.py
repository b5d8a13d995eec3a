"""A web server on this machine that misbehaves as told: each answer is a function that gets the request's handler."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class Loopback:
    """Answers requests with `answers` in turn, the last one again and again; `ranges` are what they asked for."""

    def __init__(self, port: int) -> None:
        self.site = f"http://127.0.0.1:{port}"
        self.address = f"{self.site}/file.bin"
        self.answers: list[Answer] = []
        self.ranges: list[str | None] = []
        self.lock = threading.Lock()

    def will(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.ranges = []

    def next_answer(self, asked: str | None) -> Answer:
        with self.lock:
            self.ranges.append(asked)
            return self.answers.pop(0) if self.answers[1:] else self.answers[0]


@contextmanager
def running() -> Iterator[Loopback]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            loopback.next_answer(self.headers.get("Range"))(self)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """The client may hang up whenever it likes."""

    server = Server(("127.0.0.1", 0), Handler)
    loopback = Loopback(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield loopback
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _head(handler: BaseHTTPRequestHandler, status: int, **headers: object) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()


def serve(
    content: bytes,
    *,
    resumes: bool = True,
    breaks_after: int | None = None,
    length: int = 0,
    span: str | None = None,
    pieces: int | None = None,
    media: str = "application/octet-stream",
) -> Answer:
    """A file server. `length` is added to the stated length; `breaks_after` so many bytes it hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked and resumes else 0
        if start and start >= len(content):
            _head(handler, 416, Content_Range=f"bytes */{len(content)}")
            return
        body = content[start:]
        headers: dict[str, object] = {"Content_Type": media, "Content_Length": len(body) + length}
        if start:
            headers["Content_Range"] = span or f"bytes {start}-{len(content) - 1}/{len(content)}"
        _head(handler, 206 if start else 200, **headers)
        body = body[:breaks_after]
        step = pieces or max(len(body), 1)
        for begin in range(0, len(body), step):
            handler.wfile.write(body[begin : begin + step])
            handler.wfile.flush()

    return answer


def unmeasured(content: bytes) -> Answer:
    """The file without a stated length: its end is the connection's end."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200)
        handler.wfile.write(content)

    return answer


def chunked(content: bytes, *, breaks_after: int | None = None) -> Answer:
    """The file in chunks without a length in all (RFC 9112, section 7.1); broken off, the last chunk is missing."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = True
        _head(handler, 200, Transfer_Encoding="chunked")
        for begin in range(0, len(content[:breaks_after]), 1000):
            piece = content[begin : begin + 1000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if breaks_after is None:
            handler.wfile.write(b"0\r\n\r\n")

    return answer


def status(code: int, **headers: object) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, code, Content_Length=0, **headers)

    return answer


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Not a word."""
    handler.close_connection = True


def silent_until(event: threading.Event) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        event.wait(10)

    return answer
