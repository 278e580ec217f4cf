"""The page over HTTP on one's own machine: the files of the newest page and its news, and nothing else."""

from __future__ import annotations

import errno
import ipaddress
import json
import mimetypes
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from zoo.errors import MachineError, Option
from zoo.web.site import Site

# Whatever a name or a label holds, the page runs and loads only what this server has; plotly writes style elements.
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'none'"
TYPES = mimetypes.MimeTypes()  # Python's own: by Windows' registry a script may be plain text, which browsers refuse


def make_server(site: Site, host: str, port: int) -> ThreadingHTTPServer:
    """A server of `site` that listens on `host` and `port` (0: a free one) and is not serving yet.

    Raises :class:`MachineError` where it cannot listen.
    """

    class Handler(BaseHTTPRequestHandler):
        """GET alone; :class:`http.server.BaseHTTPRequestHandler` refuses all else with 501."""

        protocol_version = "HTTP/1.1"
        timeout = 30  # seconds that a silent connection is kept

        def do_GET(self) -> None:
            if not self._asked_here():
                self._answer(HTTPStatus.FORBIDDEN, b"no such host here\n", "text/plain")
                return
            name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
            if name == "live.json":
                news = json.dumps(site.news(), allow_nan=False, separators=(",", ":"))
                self._answer(HTTPStatus.OK, news.encode(), "application/json")
            elif (content := site.read(name)) is None:
                self._answer(HTTPStatus.NOT_FOUND, b"no such page\n", "text/plain")
            else:
                self._answer(HTTPStatus.OK, content, TYPES.guess_type(name)[0] or "application/octet-stream")

        def _asked_here(self) -> bool:
            """On a loopback address a page of another site may not read this one by a name that it points here."""
            if not _is_loopback(host):
                return True
            asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            return asked == host or _is_loopback(asked or "")

        def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
            self.send_response(status)
            text = kind.startswith("text/") or kind.endswith(("json", "javascript"))
            self.send_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-cache" if kind != "application/json" else "no-store")
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Silent: a page asks every two seconds."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
            """A browser that goes away is no error; others are shown by the base class."""
            if not isinstance(sys.exception(), ConnectionError | TimeoutError):
                super().handle_error(request, client_address)

    try:
        return Server((host, port), Handler)
    except (OSError, OverflowError) as problem:
        if getattr(problem, "errno", None) == errno.EADDRINUSE:
            raise MachineError(
                f"port {port} of {host} is in use; choose another with ", Option("port"), ", or ", Option("port", "0"),
                " for any free one",
            ) from problem  # fmt: skip
        reason = getattr(problem, "strerror", None) or problem
        raise MachineError(f"cannot listen on {host}, port {port} ({reason})") from problem


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
