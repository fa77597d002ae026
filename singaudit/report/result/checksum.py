"""The checksum that a result.json carries over its own content: an edited one is refused when it is read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from singaudit.report.result.audit import AuditResult


def content_checksum(result: AuditResult) -> str:
    """sha256 (hex) of the result as JSON without its checksum: keys sorted, no spaces, ASCII, floats by repr.

    It tells damage and edits that nobody meant to hide; it is no signature.
    """
    return checksum_of(result.model_dump(mode="json", exclude={"checksum"}))


def checksum_of(content: Mapping[str, Any]) -> str:
    """The same of a result as plain data, whatever version of the schema it follows."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def sealed(result: AuditResult) -> AuditResult:
    """The result with its checksum."""
    return result.model_copy(update={"checksum": content_checksum(result)})
