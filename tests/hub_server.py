"""A server on this machine that speaks the model hub's protocol: repositories of files at one commit each.

    with HubServer({"org/name": folder}) as hub:
        env = hub.environment(tmp_path / "hub")     # HF_ENDPOINT, HF_HOME, nothing inherited that would interfere

``broken`` cuts every file short, ``slow`` waits before each answer, ``token`` is needed where it is set.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class HubServer:
    """Serves ``repositories`` (ORG/NAME -> folder); ``datasets`` likewise; ``requests`` is what it was asked."""

    def __init__(
        self, repositories: Mapping[str, Path], *, datasets: Mapping[str, Path] | None = None, token: str | None = None,
        broken: bool = False, slow: float = 0.0,
    ) -> None:  # fmt: skip
        self.repositories = {("models", name): Path(folder) for name, folder in repositories.items()}
        self.repositories |= {("datasets", name): Path(folder) for name, folder in (datasets or {}).items()}
        self.token, self.broken, self.slow = token, broken, slow
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(self, name: str, kind: str = "models") -> str:
        """The one commit of a repository: 40 hex digits that follow from its content."""
        folder = self.repositories[kind, name]
        digest = hashlib.sha1()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        return digest.hexdigest()

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Variables for a process that shall use this server and keep its cache in ``home``."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        return {**kept, "HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **more}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, body: bool) -> None:
                time.sleep(hub.slow)
                path = unquote(urlsplit(self.path).path).strip("/")
                hub.requests.append((self.command, path))
                if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                    return self._error(401, "GatedRepo", body)
                if path.startswith("api/"):
                    return self._api(path.removeprefix("api/"), body)
                kind = "datasets" if path.startswith("datasets/") else "models"
                repo, marker, rest = path.removeprefix("datasets/").partition("/resolve/")
                if not marker or (kind, repo) not in hub.repositories:
                    return self._error(404, "RepoNotFound", body)
                revision, _, name = rest.partition("/")
                if revision not in ("main", hub.commit(repo, kind)):
                    return self._error(404, "RevisionNotFound", body)
                return self._file(kind, repo, name, body)

            def _file(self, kind: str, repo: str, name: str, body: bool) -> None:
                path, commit = hub.repositories[kind, repo] / name, hub.commit(repo, kind)
                if not path.is_file():
                    return self._error(404, "EntryNotFound", body, {"X-Repo-Commit": commit})
                data = path.read_bytes()
                headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit,
                           "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}  # fmt: skip
                return self._send(200, data, body, headers, cut=hub.broken)

            def _api(self, path: str, body: bool) -> None:
                kind, _, rest = path.partition("/")
                parts = rest.split("/")
                name = "/".join(parts[:2])
                if (kind, name) not in hub.repositories:
                    return self._error(404, "RepoNotFound", body)
                folder = hub.repositories[kind, name]
                files = sorted(p for p in folder.rglob("*") if p.is_file())
                names = [p.relative_to(folder).as_posix() for p in files]
                document: object = {
                    "id": name, "modelId": name, "sha": hub.commit(name, kind), "private": False, "gated": False,
                    "disabled": False, "tags": [], "downloads": 0, "likes": 0,
                    "siblings": [{"rfilename": item} for item in names],
                }  # fmt: skip
                if "tree" in parts:
                    document = [
                        {"type": "file", "path": item, "size": file.stat().st_size, "oid": "0" * 40}
                        for item, file in zip(names, files, strict=True)
                    ]
                return self._send(200, json.dumps(document).encode(), body, {"Content-Type": "application/json"})

            def _error(self, status: int, code: str, body: bool, more: Mapping[str, str] | None = None) -> None:
                self._send(status, b"", body, {"X-Error-Code": code, "X-Error-Message": code, **(more or {})})

            def _send(
                self, status: int, data: bytes, body: bool, headers: Mapping[str, str], cut: bool = False
            ) -> None:  # fmt: skip
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body and self.command == "GET":
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.close_connection = True

        return Handler
