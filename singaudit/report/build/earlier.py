"""The last release's audit beside this one: read before any work, compared when all is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.config import AuditConfig
from singaudit.dataset.columns import read_csv
from singaudit.errors import ConfigError, DatasetError
from singaudit.report.build.baseline import baseline_part, check_usable
from singaudit.report.formats.table import RESULT_FILE, SCORES_FILE
from singaudit.report.gates.rules import Rule
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.store import load_result


@dataclass(frozen=True)
class Baseline:
    """An earlier audit."""

    name: str
    """As it was given."""
    result: AuditResult
    """What it found."""
    per_image: Mapping[str, Sequence[Any]] | None
    """Columns of the scores.csv beside it; None without one that can be read."""


def open_baseline(config: AuditConfig, rules: Sequence[Rule]) -> Baseline | None:
    """The baseline that ``config`` names, a result.json or its folder; None where it names none.

    Raises ConfigError for a gate over a baseline that was not given, and for a baseline without images to compare on;
    ReportError for a result that cannot be read, or was made by another version of the method.
    """
    if config.baseline is None:
        asked = next((rule for rule in rules if rule.path[0].name == "baseline"), None)
        if asked is not None:
            raise ConfigError(
                f"expected a baseline for the gate {asked.text!r}, none was given",
                hint="Add --baseline RESULT.json, the last release's.",
            )
        return None
    if config.geometry_only or (config.images is None and config.pack is None):
        raise ConfigError(
            "expected images with --baseline: scores and findings are compared on the same ones",
            hint="Add --images, those that the baseline was audited on.",
        )
    path = Path(config.baseline)
    path = path / RESULT_FILE if path.is_dir() else path
    result = load_result(path)
    check_usable(result, config.baseline)  # before any work; what the images say comes after it
    return Baseline(config.baseline, result, _rows(path.with_name(SCORES_FILE)))


def with_baseline(result: AuditResult, per_image: Mapping[str, Sequence[Any]], earlier: Baseline | None) -> AuditResult:
    """The result with its comparison; raises ReportError where the two say nothing about each other."""
    if earlier is None:
        return result
    part = baseline_part(result, per_image, earlier.result, earlier.per_image, earlier.name)
    if part is not None:
        return result.model_copy(update={"baseline": part})
    said = [*result.not_evaluated, "the baseline was not compared: this audit has no scores"]
    return result.model_copy(update={"not_evaluated": said})


def _rows(path: Path) -> Mapping[str, Sequence[Any]] | None:
    if not path.is_file():
        return None
    try:
        return read_csv(path, "scores per image")
    except DatasetError:
        return None
