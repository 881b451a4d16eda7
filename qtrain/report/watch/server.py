"""The server of the live page: bound to 127.0.0.1, behind a secret in its address, read only.

Whatever is not a GET or HEAD of one of its three addresses, with the secret and the right host, is answered by 403. The
check of the host keeps out a page elsewhere whose name was made to lead to this machine (DNS rebinding). No path of a
request ever reaches the file system: runs are looked up by the names that the scan has found.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs

from qtrain.errors import UserError
from qtrain.report.watch.page import render_page
from qtrain.report.watch.state import CURVES, Watched

HOST = "127.0.0.1"
_TOKEN_BYTES = 32
_INLINE = re.compile(r"<(style|script)\b[^>]*>(.*?)</\1>", re.DOTALL)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@contextmanager
def serving(watched: Watched, port: int = 0) -> Iterator[str]:
    """Serve the page of a folder inside.

    Args:
        watched: the folder.
        port: of 127.0.0.1; 0 takes one that is free.

    Yields:
        The page's address.

    Raises:
        UserError: the port is taken, or not for this user.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    page = render_page(watched.folder)
    handler = type("_OfThisFolder", (_Handler,), {"watched": watched, "token": token, "page": page})
    try:
        server = _Server((HOST, port), handler)
    except OSError as error:
        raise UserError(
            f"cannot listen on {HOST}:{port} ({error.strerror}); name another --port, or 0 for any that is free"
        ) from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.port}/{token}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    """A thread a request; the threads end with the process."""

    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Bind, without asking the network what this machine is called, as the parent does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.port

    @property
    def port(self) -> int:
        """That it is bound to."""
        return int(self.socket.getsockname()[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a page that was closed while it was answered."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request.

    Attributes:
        watched: what it tells of.
        token: the secret.
        page: as it is served.
    """

    server_version = "qtrain"
    sys_version = ""
    timeout = 10  # seconds for a request to come in
    watched: ClassVar[Watched]
    token: ClassVar[str]
    page: ClassVar[str]

    def do_GET(self) -> None:
        """Answer with the page, the runs or some curves."""
        name, _, query = self.path.partition("?")
        if not self._is_from_here() or not (found := self._inside(name)):
            self._refuse()
        elif found == "/" and not query:
            self._send(self.page.encode(), "text/html; charset=utf-8")
        elif found == "/runs.json" and not query:
            self._send_json(self.watched.runs())
        elif found == "/curves.json":
            self._send_curves(query)
        else:
            self._refuse()

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self._send(b"refused\n", "text/plain; charset=utf-8", status=403)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the parent finds wrong, without a word of what came."""
        self._refuse()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _is_from_here(self) -> bool:
        """Whether the request was meant for this server by its one name."""
        port = self.connection.getsockname()[1]
        names = {f"{host}:{port}" for host in (HOST, "localhost")}
        if port == 80:
            names |= {HOST, "localhost"}  # browsers leave it out
        hosts = self.headers.get_all("Host") or []
        return len(hosts) == 1 and hosts[0] in names

    def _inside(self, path: str) -> str:
        """Return what stands behind the secret, nothing where it is not the secret."""
        _, _, rest = path.partition("/")
        given, slash, name = rest.partition("/")
        if path[:1] != "/" or not hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            return ""
        return slash + name

    def _send_curves(self, query: str) -> None:
        try:
            given = parse_qs(query, strict_parsing=True, max_num_fields=CURVES, errors="strict")
        except ValueError:
            self._refuse()
            return
        if given.keys() != {"run"}:
            self._refuse()
            return
        self._send_json(self.watched.curves(given["run"]))

    def _send_json(self, values: dict[str, Any]) -> None:
        self._send(json.dumps(values, allow_nan=False).encode(), "application/json")

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        if status == 200 and self.headers.get("If-None-Match") == tag:
            status, content = 304, b""
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", policy_of(self.page))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", tag)
        self.end_headers()
        if getattr(self, "command", "GET") != "HEAD":
            self.wfile.write(content)


def policy_of(page: str) -> str:
    """Return the policy under which a page runs its own styles and scripts, talks to its server, and nothing else."""
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    rules = [f"{kind}-src {' '.join(found)}" for kind, found in hashes.items()]
    return "; ".join(
        ["default-src 'none'", *rules, "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
         "frame-ancestors 'none'"]
    )  # fmt: skip
