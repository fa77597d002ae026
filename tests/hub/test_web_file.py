"""Weights under plain addresses: fetched once into torch's cache, checked, watched, never half there."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from singaudit.classifier.openers.hub import CALLER
from singaudit.errors import ModelError
from singaudit.hub import web_file
from singaudit.hub.web_file import from_url

CONTENT = bytes(range(256)) * 4000
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Serves CONTENT under every name; ``fault`` is what goes wrong."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads, fault, requests, over = True, "", 0, threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests += 1
            self.send_response(404 if self.server.fault == "missing" else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            if self.server.fault == "truncated":
                return
            if self.server.fault == "stalled":
                self.server.over.wait()
            rest = CONTENT[len(CONTENT) // 2 :]
            self.wfile.write(rest[:-1] + b"x" if self.server.fault == "corrupt" else rest)

        def log_message(self, *_):
            pass

    with Server(("127.0.0.1", 0), Handler) as found:
        found.url = f"http://127.0.0.1:{found.server_port}"
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.over.set()
        found.shutdown()


def test_a_file_is_fetched_once_with_its_progress_and_checked_every_time(server):
    told = []
    path = from_url(f"{server.url}/{NAME}", CALLER, lambda *step: told.append(step))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (f"download {NAME}", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert from_url(f"{server.url}/{NAME}", CALLER) == path
    assert server.requests == 1
    path.write_bytes(b"other")
    with pytest.raises(ModelError, match="is damaged: its sha256 does not start with"):
        from_url(f"{server.url}/{NAME}", CALLER)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "could not be had from .*404"),
        ("truncated", "arrived incomplete|could not be had"),
        ("corrupt", "arrived damaged"),
        ("stalled", "could not be had from .*timed out"),
    ],
)
def test_what_goes_wrong_is_one_message_and_leaves_nothing(server, tmp_path, monkeypatch, fault, message):
    # All but one that stands still may answer as late as a busy machine lets it.
    monkeypatch.setattr(web_file, "_PATIENCE", 0.5 if fault == "stalled" else 60.0)
    server.fault = fault
    with pytest.raises(ModelError, match=message) as caught:
        from_url(f"{server.url}/{NAME}", CALLER)
    assert caught.value.hint
    assert not [path for path in Path(tmp_path).rglob("*") if path.is_file()]
    monkeypatch.setattr(web_file, "_PATIENCE", 60.0)
    server.fault = ""
    assert from_url(f"{server.url}/{NAME}", CALLER).read_bytes() == CONTENT
