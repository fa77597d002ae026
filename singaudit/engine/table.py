"""The engines by name: each is one file and one line in this table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from singaudit.engine.interface import Engine, EngineSettings
from singaudit.engine.local import run_pass

EngineName = Literal["local", "ray"]


def _local(settings: EngineSettings) -> Engine:
    return run_pass


def _ray(settings: EngineSettings) -> Engine:
    from singaudit.engine.ray import RayEngine

    return RayEngine(settings)


ENGINES: dict[EngineName, Callable[[EngineSettings], Engine]] = {"local": _local, "ray": _ray}
assert tuple(ENGINES) == get_args(EngineName)


def open_engine(name: EngineName, settings: EngineSettings) -> Engine:
    """The engine ``name``. Raises ``ConfigError`` where its library is not installed."""
    return ENGINES[name](settings)
