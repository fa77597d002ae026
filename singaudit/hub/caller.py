"""On whose behalf files are fetched, so that what goes wrong is said in that part's own words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from singaudit.errors import SingauditError

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total); stages that begin with "download" count bytes."""

_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
_REVISION = re.compile(r"[\w-][\w./-]*")


@dataclass(frozen=True)
class Caller:
    """A part of singaudit that fetches from the hub."""

    error: type[SingauditError]
    """Raised for what the user can mend."""
    noun: str
    """What it fetches, in words: "language model", "classifier"."""
    example: str
    """How a user names one: "ORG/NAME or ORG/NAME@REVISION"."""
    folder: str
    """What to give where the files are on this machine: "--vlm DIR"."""
    remedy: str
    """What to do on a machine that the hub does not reach; ``{name}`` stands for the repository."""

    def elsewhere(self, name: str) -> str:
        """What to do where ``name`` cannot be had."""
        return self.remedy.format(name=name)

    def split(self, text: str) -> tuple[str, str | None]:
        """(ORG/NAME, revision or None) of ``ORG/NAME[@REVISION]``. Raises ``error``."""
        name, at, revision = text.partition("@")
        if (
            not _NAME.fullmatch(name)
            or ".." in name
            or (at and (not _REVISION.fullmatch(revision) or ".." in revision))
        ):
            raise self.error(
                f"expected a {self.noun} of the hub as {self.example}, or a folder, got {text[:100]!r}",
                hint=f"Copy the name from the model's page, or give {self.folder} with a folder that exists.",
            )
        return name, revision or None
