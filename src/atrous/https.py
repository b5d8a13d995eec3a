"""Asking an address over https: which addresses are asked, and which redirects are followed."""

import ipaddress
import re
from typing import Any
from urllib import request
from urllib.parse import urlsplit

from atrous.errors import DownloadError
from atrous.version import __version__

__all__ = ["ask", "refusal"]

MAX_REDIRECTS = 5


def ask(address: str, *, offset: int, timeout_seconds: float) -> Any:
    """The answer to a GET for the bytes from `offset` on: an `http.client.HTTPResponse`, to be closed by the caller.

    Raises HTTPError for an answer other than 2xx, OSError and HTTPException for a broken connection, and DownloadError
    for a redirect to an address that is not asked.
    """
    # identity: a proxy that compresses the file would change its length and its hash
    headers = {"User-Agent": f"atrous/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    return _opener(address).open(request.Request(address, headers=headers), timeout=timeout_seconds)


def refusal(address: str, *, allow_local: bool) -> str:
    """Why an address is not asked; empty for one that is.

    https is asked, and with `allow_local` plain http at this machine's own loopback numbers (not names: those can be
    made to lead elsewhere).
    """
    try:
        parts = urlsplit(address)
        # a name before @, a backslash or a space: parsers do not agree on which host such an address means
        is_plain = bool(parts.hostname) and parts.username is None and not re.search(r"[\s\\]", address)
    except ValueError:
        return "it is no address"
    if not is_plain:
        return "it is no plain address"
    if parts.scheme == "https" or (allow_local and _is_local(address)):
        return ""
    return f"{parts.scheme or 'no scheme'} is not allowed, only https"


class _Redirects(request.HTTPRedirectHandler):
    """Follows to https only; from this machine's own addresses to them too."""

    max_redirections = MAX_REDIRECTS

    def __init__(self, address: str) -> None:
        self._allow_local = _is_local(address)

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        reason = refusal(newurl, allow_local=self._allow_local)
        if reason:
            fp.close()
            found = f"it redirects to {newurl!r}, but {reason}"
            raise DownloadError(
                f"{req.full_url} was not fetched: {found}. Expected a redirect to an https address. "
                "Fetch the file by hand, if you trust that place.",
                found=found,
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(address: str) -> request.OpenerDirector:
    """Nothing but http and https: urllib's own opener reads local files and FTP too."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler({} if _is_local(address) else None),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        _Redirects(address),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _is_local(address: str) -> bool:
    parts = urlsplit(address)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
