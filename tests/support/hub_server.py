"""A loopback server that speaks as much of the model hub's protocol as its client needs, and misbehaves on request.

with serve() as hub:
    hub.add("org/name", folder)
    env = hub.environment(tmp_path / "home")    # for a process: the client reads its variables once
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "1" * 40
_API = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info)/(?P<rest>.+))?"
)
_RESOLVE = re.compile(r"(?:/(?P<kind>datasets))?/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_LARGE = (".safetensors", ".bin", ".parquet", ".onnx")


@dataclass
class Repository:
    """What the hub holds under a name."""

    files: dict[str, bytes]
    commit: str = COMMIT
    token: str = ""
    """Required where it is not empty."""
    gated: bool = False
    refs: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})


@dataclass
class Hub:
    """The server's state; tests change it while it runs."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """"METHOD path" in order of arrival."""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """Statuses to answer requests with that hold the key, one after another, before answering them properly."""
    truncate: int | None = None
    """Large files break off after so many bytes, the connection closed."""
    corrupt: bool = False
    """Large files arrive with one byte changed."""
    wrong_size: bool = False
    """Large files claim a byte more in the metadata than they have."""
    stated_size: object = None
    """What the list of files says of every file's size, where it is not None."""
    stall: float = 0.0
    """Seconds to stand still in the middle of a large file."""
    rate: int | None = None
    """Bytes a second of large files."""
    ranges: bool = True
    """Whether Range requests are answered with 206."""

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Variables for a process that uses this server, keeps its cache in ``home`` and inherits nothing of either."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and k not in ("NO_COLOR", "FORCE_COLOR")}
        return {**kept, "HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": "*", **more}

    def add(self, name: str, folder: Path | str | None = None, kind: str = "models", **files: bytes) -> Repository:
        """Serve a folder's files, and others by keyword, as a repository."""
        found = (
            {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
            if folder
            else {}
        )
        self.repositories[f"{kind}/{name}"] = Repository({**found, **files})
        return self.repositories[f"{kind}/{name}"]

    def fetched(self) -> list[str]:
        """Names of the files that were downloaded (GET), in order."""
        found = (re.fullmatch(r"GET /(?:cdn/[^/]+/|.*/resolve/[^/]+/)(.+)", line) for line in self.requests)
        return [match[1] for match in found if match]


@contextmanager
def serve():
    """A running hub on a free port of this machine."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def git_hash(data: bytes) -> str:
    """The hash under which git stores a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.requests.append(f"{self.command} {path}")
        for key, statuses in self.state.statuses.items():
            if key in path and statuses:
                return self.send(statuses.pop(0), b"{}")
        if path.startswith("/cdn/"):
            held = {
                hashlib.sha256(d).hexdigest(): d for r in self.state.repositories.values() for d in r.files.values()
            }
            data = held.get(path.split("/")[2])
            return self.large(data) if data is not None else self.send(404)
        if match := _API.fullmatch(path):
            return self.api(match, body)
        if match := _RESOLVE.fullmatch(path):
            return self.resolve(match)
        return self.send(404, b"{}")

    def repository(self, kind, name, revision="main"):
        """The repository and the commit, or None after an error was answered."""
        found = self.state.repositories.get(f"{kind or 'models'}/{name}")
        given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if found is None or (found.token and not given):
            return self.send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if found.gated or (found.token and given != found.token):
            return self.send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        commit = found.refs.get(revision, revision)
        if commit != found.commit:
            return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        return found

    def api(self, match, body):
        revision, _, below = (match["rest"] or "main").partition("/")
        found = self.repository(match["kind"], match["name"], revision)
        if found is None:
            return None
        if match["what"] == "paths-info":
            wanted = [unquote(p) for p in re.findall(r"paths=([^&]+)", body.decode())] or json.loads(body)["paths"]
            return self.send_json([self.entry(n, d) for n, d in found.files.items() if n in wanted])
        if match["what"] == "tree":
            return self.tree(found, below and below + "/", "recursive=true" in self.path.lower())
        return self.send_json(
            {
                "id": match["name"],
                "sha": found.commit,
                "private": False,
                "gated": found.gated,
                "tags": [],
                "siblings": [self.sibling(n, d) for n, d in found.files.items()],
            }
        )

    def tree(self, found, below, recursive):
        """What lies below a folder: everything, or its own files and subfolders."""
        inside = {n: d for n, d in found.files.items() if n.startswith(below)}
        if below and not inside:
            return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        folders = {n[: n.index("/", len(below))] for n in inside if "/" in n[len(below) :]}
        entries = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
        entries += [self.entry(n, d) for n, d in inside.items() if recursive or "/" not in n[len(below) :]]
        return self.send_json(entries)

    def sibling(self, name, data):
        size = len(data) if self.state.stated_size is None else self.state.stated_size
        facts = {"rfilename": name, "size": size, "blobId": git_hash(data)}
        if name.endswith(_LARGE):
            facts["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return facts

    def entry(self, name, data):
        facts = {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
        if name.endswith(_LARGE):
            facts["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return facts

    def resolve(self, match):
        found = self.repository(match["kind"], match["name"], match["revision"])
        if found is None:
            return None
        data = found.files.get(match["file"])
        headers = {"X-Repo-Commit": found.commit}
        if data is None:
            return self.send(404, b"", {**headers, "X-Error-Code": "EntryNotFound"})
        if not match["file"].endswith(_LARGE):
            return self.send(200, data, {**headers, "ETag": f'"{git_hash(data)}"'})
        digest = hashlib.sha256(data).hexdigest()
        size = len(data) + self.state.wrong_size
        return self.send(302, b"", {
            **headers, "ETag": f'"{git_hash(data)}"', "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(size),
            "Location": f"{self.state.url.replace('127.0.0.1', 'localhost')}/cdn/{digest}/{match['file']}",
        })  # fmt: skip

    def large(self, data):
        """A large file, as slow and as broken as the hub is told to be."""
        hub, start = self.state, 0
        if hub.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and hub.ranges:
            start = int(wanted[1])
        rest = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        block = max(1, hub.rate // 20) if hub.rate else len(rest) // 4 or 1
        for position in range(0, len(rest), block):
            if hub.truncate is not None and start + position + block > hub.truncate:
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            try:
                self.wfile.write(rest[position : position + block])
            except OSError:
                return
            if hub.rate:
                time.sleep(0.05)
            if hub.stall and position:
                time.sleep(hub.stall)

    def send_json(self, document):
        self.send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def send(self, status, data=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
