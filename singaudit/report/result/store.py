"""result.json: one byte sequence per result, and how one that may come from anywhere is read back."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from singaudit.errors import ReportError
from singaudit.report.result.audit import OLDER_VERSIONS, SCHEMA_VERSION, AuditResult
from singaudit.report.result.base import Part
from singaudit.report.result.checksum import checksum_of, sealed

MAX_BYTES = 64 * 2**20
"""No result.json is larger."""
_MAX_DEPTH = 40
_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def canonical_json(result: AuditResult) -> bytes:
    """result.json with its checksum: one byte sequence per result."""
    return canonical_part(sealed(result))


def canonical_part(result: Part) -> bytes:
    """A result of any kind as JSON: keys sorted, floats by repr, ASCII.

    A line for every part and for every entry of a list of parts: what changed shows, and nothing is spent on indents.
    """

    def line(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def part(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n" + ",\n".join(map(line, value)) + "\n]"
        return line(value)

    content = result.model_dump(mode="json")
    text = "{\n" + ",\n".join(f"{line(key)}:{part(content[key])}" for key in sorted(content)) + "\n}\n"
    return text.encode("ascii")


def load_result(path: Path) -> AuditResult:
    """Read a result.json that may come from anywhere.

    Raises ReportError, with one message, for a file that is missing, too large, nested too deeply, truncated, holds a
    key twice, follows a newer schema, does not fit the schema, or was edited after it was written.
    """
    data = _read(path)
    try:
        _check_depth(data, path)
        raw = json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as e:
        raise ReportError(f"{path} is not a complete JSON file: {str(e)[:200]}", hint="Run the audit again") from e
    if not isinstance(raw, dict) or not isinstance(raw.get("schema_version"), str):
        raise ReportError(
            f"expected a result.json of singaudit, but {path} has no schema_version",
            hint="Name the result.json in the folder of an earlier audit",
        )
    version = raw["schema_version"]
    if version not in (SCHEMA_VERSION, *OLDER_VERSIONS):
        known = ", ".join(map(repr, (*OLDER_VERSIONS, SCHEMA_VERSION)))
        raise ReportError(
            f"{path} follows schema {version[:20]!r}, this version reads {known}",
            hint="Use the version of singaudit that wrote it, or run the audit again",
        )
    try:
        result = _validated(raw, version != SCHEMA_VERSION)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise ReportError(
            f"{path} does not fit the schema: {where}: {first['msg'][:200]}",
            hint="Run the audit again; singaudit schema prints what fits",
        ) from e
    if not _is_sealed(raw):
        raise ReportError(
            f"{path} was changed after it was written: its checksum does not fit its content",
            hint="Run the audit again, or take the file as the audit wrote it",
        )
    return result


def _is_sealed(raw: dict[str, Any]) -> bool:
    """Over the file's own content: what a newer schema adds with its defaults was never written."""
    try:
        return checksum_of({key: value for key, value in raw.items() if key != "checksum"}) == raw.get("checksum")
    except ValueError:  # a number too large for one, where an older schema had a part that is gone
        return False


def _validated(raw: dict[str, Any], older: bool) -> AuditResult:
    """``raw`` as a result of this version; of an older one what is no part of a result any more is left out."""
    current = {**raw, "schema_version": SCHEMA_VERSION}
    try:
        return AuditResult.model_validate(current)
    except ValidationError as error:
        gone = [
            e["loc"] for e in error.errors(include_url=False, include_input=False) if e["type"] == "extra_forbidden"
        ]
        if not (older and gone):
            raise
        current = copy.deepcopy(current)
        for location in gone:
            *path, last = location
            part: Any = current
            for step in path:
                part = part[step]
            part.pop(last)
        return AuditResult.model_validate(current)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ReportError(
                f"expected a result.json, but {path} is not a file",
                hint="Name the result.json in the folder of an earlier audit",
            )
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise ReportError(f"cannot read {path}: {e.strerror}", hint="Check the file's permissions") from e
    if len(data) > MAX_BYTES:
        raise ReportError(
            f"{path} is larger than {MAX_BYTES >> 20} MB, no result.json is", hint="Name a file that an audit wrote"
        )
    return data


def _check_depth(data: bytes, path: Path) -> None:
    """Refuse deep nesting before parsing; brackets inside of strings do not count."""
    depth = 0
    for found in _BRACKETS.finditer(data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        if depth > _MAX_DEPTH:
            raise ReportError(
                f"{path} is nested more than {_MAX_DEPTH} levels deep, no result.json is",
                hint="Name a file that an audit wrote",
            )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key occurs twice")
    return out


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
