"""singaudit compare: models or earlier results on the same images: what differs, then scores beside their controls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singaudit.cli.commands.run import audit_into, config_from, pdf_settings, possible_formats
from singaudit.cli.lock import hold
from singaudit.cli.terminal import Reporter, console, safe
from singaudit.dataset.columns import read_csv
from singaudit.errors import ConfigError, DatasetError
from singaudit.report.brief.compared import compared_answer
from singaudit.report.build.comparison import SCORES, PerImage, compare
from singaudit.report.formats.folder import COMPARISON_FILE, check_output_folder
from singaudit.report.formats.table import RESULT_FILE, SCORES_FILE, usual_formats
from singaudit.report.formats.writer import write_comparison
from singaudit.report.pages.comparison import render_comparison
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.comparison import Comparison
from singaudit.report.result.store import load_result

if TYPE_CHECKING:
    from rich.console import Console

PAGE = "compare.html"


def compare_targets(settings: dict[str, Any], argv: Sequence[str]) -> tuple[Comparison, list[Path]]:
    """Load or audit every target, and write the page and compare.json; the comparison and the files.

    Raises ``SingauditError``.
    """
    targets = tuple(settings["targets"])
    if len(targets) < 2:
        raise ConfigError("expected at least two results or models to compare", hint="Run singaudit compare A B")
    output, force = Path(settings["output"]), bool(settings.get("force"))
    stored = [_stored(target) for target in targets]
    folders = _folders([t for t, found in zip(targets, stored, strict=True) if found is None])
    check_output_folder(output, force=force, folders=folders.values(), pages=(PAGE,))
    hold(output)
    if folders and settings.get("images") is None and settings.get("pack") is None:
        raise ConfigError(
            f"expected images to audit {next(iter(folders))} on", hint="Add --images DIR, or name result.json files."
        )
    results: list[AuditResult] = []
    tables: list[PerImage | None] = []
    for target, path in zip(targets, stored, strict=True):
        where = path if path is not None else output / folders[target] / RESULT_FILE
        if path is None:
            config = config_from({**settings, "model": target})
            quiet = bool(settings.get("quiet"))
            usual = usual_formats(), False
            pdf = pdf_settings(settings, usual)
            with (
                possible_formats(usual, pdf) as wanted,
                Reporter("none" if quiet else settings["progress"], title=safe(target)) as reporter,
            ):
                audit_into(config, output / folders[target], wanted, force, reporter, argv, pdf)
        results.append(load_result(where))
        tables.append(_per_image(where.with_name(SCORES_FILE)))
    found = compare(results, targets, tables, bool(settings.get("anyway")))
    write_comparison(render_comparison(found, results), found.model_dump_json(indent=1), output, PAGE)
    return found, [output / PAGE, output / COMPARISON_FILE]


def _stored(target: str) -> Path | None:
    """The result.json that ``target`` names, itself or by its folder; None for a model."""
    path = Path(target)
    if (path / RESULT_FILE).is_file():
        return path / RESULT_FILE
    return path if path.suffix.lower() == ".json" else None


def _folders(models: Sequence[str]) -> dict[str, str]:
    """A folder name of its own for each model."""
    names: dict[str, str] = {}
    for model in models:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model.rsplit("/", 1)[-1]).strip("-.") or "model"
        number = sum(1 for n in names.values() if n == plain or n.startswith(f"{plain}-"))
        names[model] = f"{plain}-{number + 1}" if number else plain
    return names


def _per_image(path: Path) -> PerImage | None:
    """scores.csv beside a result; None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        return read_csv(path, "scores per image")
    except DatasetError:
        return None


def show(found: Comparison) -> None:
    """Print what differs for a person, and below it how scores rank the models."""
    import sys

    from rich.table import Table

    out = console(sys.stdout)
    answer = compared_answer(found)
    out.print(f"{safe(answer.word, 100)}: {safe(answer.sentence, 400)}")
    out.print(f"{len(found.models)} models on {found.images:,} images, read by {safe(found.encoder)}")
    models = [found.models[i] for i in found.order]
    rows: list[tuple[str, list[str | None]]] = [("verdict", [*(m.verdict for m in models)])]
    rows += [(safe(g.name or g.rule, 40), [g.statuses[i] for i in found.order]) for g in found.gates_apart]
    rows += [(safe(f.group, 40), [f.findings[i] for i in found.order]) for f in found.findings_apart]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("what differs", *(safe(m.name, 30) for m in models)):
        table.add_column(heading)
    for label, words in rows:
        table.add_row(label, *(word or "–" for word in words))
    out.print(table)
    if not found.findings_apart:
        out.print("  all audits found the same about every group")
    if found.findings_alike:
        out.print(f"  found alike: {safe(', '.join(found.findings_alike), 300)}")
    _show_ranking(found, out)
    for warning in found.warnings:
        out.print(f"  ! {safe(warning, 500)}")


def _show_ranking(found: Comparison, out: Console) -> None:
    """The paper's ranking, below what it cannot say."""
    from rich.table import Table

    out.print(f"ranked by scores ({found.ranking_note})")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("model", "null", "IS/|AS|", "rank (paper)", "|AS|", "effect size", "rank (adjusted)"):
        table.add_column(heading)
    for m in (found.models[i] for i in found.order):
        ratio, leak, effect = m.scores["ratio"], m.scores["attribute_score_deg"], m.effect_same_norm
        table.add_row(
            safe(m.name, 40),
            f"{m.null_dim}/{m.feature_dim}",
            "–" if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
            _rank(m.ranks.get("ratio")),
            "–" if leak is None else f"{leak.value:.1f}° [{leak.low:.1f}, {leak.high:.1f}]",
            "–" if effect is None else f"{effect.value:+.1f} [{effect.low:+.1f}, {effect.high:+.1f}]",
            _rank(m.ranks.get("adjusted")),
        )
    out.print(table)
    for name, (label, _) in SCORES.items():
        held = [d for d in found.differences if d.score == name and d.exceeds]
        total = sum(1 for d in found.differences if d.score == name)
        out.print(f"  {label}: {len(held)} of {total} differences exceed their intervals")


def _rank(rank: list[int] | None) -> str:
    if rank is None:
        return "–"
    return f"{rank[0]}" if rank[1] == rank[2] else f"{rank[0]} ({rank[1]} to {rank[2]})"
