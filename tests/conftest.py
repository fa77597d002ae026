"""What every test shares: no network, quiet threads, compiled modules, and the embedded models."""

import os
import signal
import socket
import sys

# Before numpy and torch are imported: small matrices on a busy machine are slower with several threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Hundreds of processes import the package: where nothing compiled may be kept, each compiles it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What one test computed must not reach another; tests of the cache name a folder of their own.
os.environ["SINGAUDIT_CACHE"] = "none"

# A shell that starts the tests in the background has interrupts ignored, and every child would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# So has one under nohup hangups.
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

from importlib import resources
from pathlib import Path

import pytest

sys.dont_write_bytecode = False
MODELS = Path(str(resources.files("singaudit") / "demo" / "models"))


def pytest_collection_modifyitems(config, items):
    """Tests that run other tests, and faults that take long, wait until they are asked for."""
    for marker in ("kernels", "faults", "cluster"):
        if marker not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=f"asked for with -m {marker}"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Only this machine may be reached."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise RuntimeError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def models():
    """The folder of the embedded classifiers."""
    return MODELS


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A cache for the tests of one module, as people have one: a model is certified once, an image read once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SINGAUDIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
