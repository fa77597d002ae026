"""Paths as readers of a repository know them: relative to its root, with slashes."""

from __future__ import annotations

import os
from pathlib import Path


def repository_root() -> Path | None:
    """The folder that readers take paths from: the workspace a CI names, else the work tree that this folder is in."""
    try:
        here = Path.cwd()
    except OSError:  # the folder one is in was removed
        return None
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE", "BUILD_SOURCESDIRECTORY"):
        named = os.environ.get(name)
        if named and Path(named).is_absolute() and here.is_relative_to(named):
            return Path(named)
    return next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)


def in_repository(path: str | Path) -> str:
    """``path`` relative to the repository, with slashes; empty for what lies outside or is no file or folder."""
    root = repository_root()
    try:
        found = Path(os.path.abspath(path))
        if root is None or not found.exists() or not found.is_relative_to(root) or found == root:
            return ""
        return found.relative_to(root).as_posix()
    except (OSError, ValueError):  # a name that is no path
        return ""
