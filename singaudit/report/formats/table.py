"""The files of a report, by format."""

from __future__ import annotations

FORMATS = {"html": "report.html", "pdf": "report.pdf", "json": "result.json", "csv": "scores.csv"}
"""Format and file name."""
