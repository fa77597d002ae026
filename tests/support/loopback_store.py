"""What the loopback servers of object stores share: answers to requests, pages of keys, and stretches of an object."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

PRIVATE = "private"
"""A bucket for those who sign their requests with the credentials that the server's module says."""


@dataclass
class Answer:
    """What a server says to one request."""

    status: int
    data: bytes = b""
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)


Answering = Callable[[str, dict[str, str], Message], Answer]
"""(unquoted path without its first slash, query, headers) -> answer"""


@contextmanager
def served(answering: Answering) -> Iterator[tuple[str, list[str]]]:
    """(URL, paths that were asked for) of a server that answers GET and HEAD as ``answering`` says."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(self.path)
            url = urlsplit(self.path)
            query = {name: texts[0] for name, texts in parse_qs(url.query).items()}
            answer = answering(unquote(url.path)[1:], query, self.headers)
            self.send_response(answer.status)
            sent = {"Content-Type": answer.kind, "Content-Length": str(len(answer.data)), **answer.headers}
            for name, value in sent.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def keys_of(objects: dict[str, bytes], bucket: str, prefix: str, after: str, page: int) -> tuple[list[str], str]:
    """Keys behind ``after`` of the objects "bucket/key", at most ``page``, and the last where more follow, else ""."""
    keys = sorted(path.removeprefix(f"{bucket}/") for path in objects if path.startswith(f"{bucket}/{prefix}"))
    some = [key for key in keys if key > after]
    return some[:page], some[page - 1] if len(some) > page else ""


def stretch(data: bytes, asked: str | None, headers: dict[str, str]) -> Answer:
    """An object, or the bytes of it that a header such as "bytes=0-99" asks for."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "")
    if not found:
        return Answer(200, data, headers=headers)
    start, part = int(found[1]), data[int(found[1]) : int(found[2]) + 1]
    if not part:
        return Answer(416, headers={"Content-Range": f"bytes */{len(data)}"})
    span = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
    return Answer(206, part, headers={**headers, "Content-Range": span})
