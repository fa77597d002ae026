"""Several audits of the same images: ranked as the paper does and beside controls, and which differences hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import ReportError
from singaudit.metrics.comparison import Difference, Score, differences, mean_score, rank_ranges, ratio_score
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic
from singaudit.report.result.comparison import (
    ComparedDifference,
    ComparedFinding,
    ComparedGate,
    ComparedModel,
    Comparison,
)

Array = NDArray[np.float64]
PerImage = Mapping[str, Sequence[str]]

SAME_NORM = "random subspaces, moves of the same length"
SAME_DIM = "random subspaces of the same dimension"
# Score: its name here, its place in the result, whether more is better when models are ranked by it.
SCORES = {
    "ratio": ("IS / |AS|", True),
    "attribute_score_deg": ("class score |AS|, degrees", False),
    "image_score_deg": ("image score IS, degrees", False),
}


def compare(
    results: Sequence[AuditResult], sources: Sequence[str], per_image: Sequence[PerImage | None], anyway: bool = False
) -> Comparison:
    """Compare audits. Raises ReportError where they are not of the same images or encoder, unless ``anyway``."""
    warnings = _check(results, sources, anyway)
    aligned = _aligned(results, per_image)
    if any(a is None for a in aligned):
        warnings.append("without scores.csv of every audit some differences come from intervals alone, not paired")
    found, all_ranks = [], []
    for name, (_, largest_first) in SCORES.items():
        scores = [_score(r, name, rows) for r, rows in zip(results, aligned, strict=True)]
        pairs = differences(scores)
        found += [_difference(name, d) for d in pairs]
        ranks = _ranks([s.value if s else None for s in scores], largest_first)
        all_ranks.append((name, ranks, rank_ranges(len(results), pairs, largest_first)))
    effects = [_effect(r, SAME_NORM) for r in results]
    adjusted = [Score(e.value, e.low, e.high, None) if e else None for e in effects]
    pairs = differences(adjusted)
    all_ranks.append(
        ("adjusted", _ranks([e.value if e else None for e in effects], False), rank_ranges(len(results), pairs, False))
    )
    models = [
        ComparedModel(
            name=r.model.name,
            sha256=r.model.sha256,
            source=sources[i],
            null_dim=r.geometry.null_dim,
            feature_dim=r.geometry.feature_dim,
            null_energy_share=r.geometry.null_energy_share,
            scores={name: getattr(r.scores, name) if r.scores else None for name in SCORES},
            effect_same_norm=effects[i],
            effect_same_dim=_effect(r, SAME_DIM),
            ranks={name: [ranks[i], *ranges[i]] for name, ranks, ranges in all_ranks if ranks[i]},
            findings={f.group: f.finding for f in r.findings},
            verdict=r.verdict.status,
        )
        for i, r in enumerate(results)
    ]
    first = results[0]
    assert first.data is not None
    assert first.encoder is not None
    findings_apart, findings_alike = _findings(results)
    gates_apart, gates_alike = _gates(results)
    return Comparison(
        images_digest=first.data.audit.digest, images=first.data.audit.used,
        encoder=f"{first.encoder.name} {first.encoder.revision[:12]}", models=models,
        order=_order(results, [m.ranks.get("adjusted", [len(models) + 1])[0] for m in models]),
        findings_apart=findings_apart, findings_alike=findings_alike, gates_apart=gates_apart, gates_alike=gates_alike,
        ranking_note=RANKING_NOTE, differences=found, warnings=warnings,
    )  # fmt: skip


def _difference(score: str, d: Difference) -> ComparedDifference:
    return ComparedDifference(
        score=score, first=d.first, second=d.second, difference=d.value, low=d.low, high=d.high, paired=d.paired,
        exceeds=d.exceeds,
    )  # fmt: skip


RANKING_NOTE = (
    "IS / |AS| mostly ranks models by how many null dimensions their heads leave, whatever lies in them: what a head "
    "ignores stands in findings and gates"
)
_STANDING = {"pass": 0, "no gates set": 1, "inconclusive": 2, "fail": 3}


def _order(results: Sequence[AuditResult], adjusted: Sequence[int]) -> list[int]:
    """Models from the one that least speaks against; ranks decide only between equals."""

    def against(i: int) -> tuple[int, int, int, int, int]:
        r = results[i]
        found = [part.finding for part in r.findings]
        failed = sum(gate.status == "fail" for gate in r.gates)
        return _STANDING[r.verdict.status], failed, found.count("strong"), found.count("partial"), adjusted[i]

    return sorted(range(len(results)), key=against)


def _findings(results: Sequence[AuditResult]) -> tuple[list[ComparedFinding], list[str]]:
    """Groups that were found different, those first of which a finding is strong or partial, and groups found alike."""
    tables = [{part.group: part.finding for part in r.findings} for r in results]
    groups = dict.fromkeys(group for table in tables for group in table)
    parts = [ComparedFinding(group=group, findings=[table.get(group) for table in tables]) for group in groups]
    apart = [part for part in parts if len(set(part.findings)) > 1]
    worst = ("strong", "partial")
    apart.sort(key=lambda part: min((worst.index(f) for f in part.findings if f in worst), default=len(worst)))
    return apart, [part.group for part in parts if len(set(part.findings)) == 1]


def _gates(results: Sequence[AuditResult]) -> tuple[list[ComparedGate], int]:
    """Gates that models stand differently to, failed ones first, and the number of those they stand alike to."""
    tables = [{gate.rule: gate for gate in r.gates} for r in results]
    parts = []
    for rule in dict.fromkeys(rule for table in tables for rule in table):
        row = [table.get(rule) for table in tables]
        parts.append(
            ComparedGate(
                name=next(gate.name for gate in row if gate is not None),
                rule=rule,
                statuses=[gate.status if gate else None for gate in row],
                found=[gate.found if gate else None for gate in row],
            )
        )
    apart = [part for part in parts if len(set(part.statuses)) > 1]
    return sorted(apart, key=lambda part: "fail" not in part.statuses), len(parts) - len(apart)


def _check(results: Sequence[AuditResult], sources: Sequence[str], anyway: bool) -> list[str]:
    """What must be said of audits that differ in more than the model."""
    warnings = []
    for source, r in zip(sources, results, strict=True):
        if r.data is None or r.encoder is None or r.scores is None:
            raise ReportError(
                f"expected an audit with images and scores, {source} has none", hint="Run it with --images"
            )
    first = results[0]
    for source, r in zip(sources[1:], results[1:], strict=True):
        assert r.data is not None
        assert r.encoder is not None
        assert first.data is not None
        assert first.encoder is not None
        apart = []
        if r.data.audit.digest != first.data.audit.digest:
            apart.append(f"other images ({r.data.audit.used} against {first.data.audit.used})")
        if r.encoder.revision != first.encoder.revision:
            apart.append(f"another vision-language model ({r.encoder.name} against {first.encoder.name})")
        if r.method.version != first.method.version:
            apart.append(
                f"findings of another version of the method ({r.method.version} against {first.method.version})"
            )
        if apart and not anyway:
            raise ReportError(
                f"expected audits of the same images by the same vision-language model, {source} has "
                f"{' and '.join(apart)} than {sources[0]}",
                hint="Audit both on the same images, or pass --anyway to compare what cannot be compared",
            )
        warnings += [f"{source} has {what} than {sources[0]}: differences say little" for what in apart]
        if r.data.labels != first.data.labels:
            warnings.append(
                f"images count under {r.data.labels} classes in {source}, {first.data.labels} in {sources[0]}"
            )
    if len({tuple(r.model.class_names) for r in results}) > 1:
        warnings.append("the models have different classes: |AS| is toward different texts")
    return warnings


def _aligned(results: Sequence[AuditResult], per_image: Sequence[PerImage | None]) -> list[tuple[Array, Array] | None]:
    """(IS, |AS|) per image in the order of the hashes that all have; None where rows are missing or do not belong."""
    tables: list[dict[str, tuple[float, float]] | None] = []
    for r, columns in zip(results, per_image, strict=True):
        table = _table(columns)
        if table is not None and r.scores is not None:
            mean = float(np.mean([v[0] for v in table.values()]))
            # Another audit's scores.csv beside this result.json would be compared without anybody noticing.
            if abs(mean - r.scores.image_score_deg.value) > 1e-6 * max(1.0, abs(mean)):
                table = None
        tables.append(table)
    known = [set(t) for t in tables if t is not None]
    shared = sorted(set.intersection(*known)) if known else []
    if len(shared) < 2 or any(len(k) != len(shared) for k in known):
        return [None] * len(results)
    out: list[tuple[Array, Array] | None] = []
    for table in tables:
        rows = np.array([table[key] for key in shared]) if table is not None else None
        out.append((rows[:, 0], np.abs(rows[:, 1])) if rows is not None else None)
    return out


def _table(columns: PerImage | None) -> dict[str, tuple[float, float]] | None:
    names = ("sha256", "image_score_deg", "attribute_score_deg")
    if columns is None or not set(names) <= set(columns):
        return None
    try:
        return {key: (float(a), float(b)) for key, a, b in zip(*(columns[n] for n in names), strict=True)}
    except ValueError:
        return None


def _score(r: AuditResult, name: str, rows: tuple[Array, Array] | None) -> Score | None:
    stat: Statistic | None = getattr(r.scores, name) if r.scores else None
    if stat is None:
        return None
    interval = stat.low, stat.high
    if rows is None:
        return Score(stat.value, *interval, None)
    angle, leak = rows
    if name == "ratio":
        return ratio_score(angle, leak, interval)
    return mean_score(angle if name == "image_score_deg" else leak, interval)


def _effect(r: AuditResult, control: str) -> Statistic | None:
    """Effect size of |AS| against the named family of controls."""
    family = next((c for c in r.controls if c.name == control), None)
    if family is None:
        return None
    return next((s.effect_size for s in family.scores if s.score == "scores.attribute_score_deg"), None)


def _ranks(values: Sequence[float | None], largest_first: bool) -> list[int]:
    """Rank of each value from 1; 0 where there is none."""
    known = sorted((v for v in values if v is not None), reverse=largest_first)
    return [0 if v is None else known.index(v) + 1 for v in values]
