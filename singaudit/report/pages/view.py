"""What the templates show, chosen from a result: order, selection, and sentences that depend on the run."""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from singaudit.report.brief.make import brief_of
from singaudit.report.pages import bars, charts
from singaudit.report.pages.pictures import picture_context
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import FindingPart
from singaudit.report.result.scores import ClassPart, ConceptPart, ControlPart, ControlScore

SHOWN_CONCEPTS = 24
"""Findings of single concepts in the table; result.json holds all of them."""


@dataclass(frozen=True)
class Limits:
    """How much of a result a document shows; result.json holds all of it."""

    classes: int = 100
    """Rows of the table of classes."""
    concepts: int = 100
    """Rows of the table of concepts, those that move most."""
    rules: int = 60
    """Groups whose rule is quoted."""
    gates: int = 60
    """Gates."""
    words: int = 40
    """Words lost, and words gained."""
    steering: int = 13
    """Texts steered toward."""
    pictures: int = 18
    """Pairs of pictures."""
    gallery: int = 6
    """Images with retrieved neighbours."""
    charts: int = 6
    """Charts of a class's words."""
    lines: int = 30
    """Reasons, warnings and the like."""


SCREEN = Limits()
PAPER = Limits(classes=8, concepts=6, rules=3, gates=8, words=5, steering=4, pictures=4, gallery=1, charts=2, lines=5)
"""Eight pages at most."""
APPENDIX = Limits(classes=1000, concepts=1000, rules=1000, gates=1000, words=200, steering=1000, gallery=12, lines=100)
"""All that is worth printing."""
_TABLE_GROUPS = {SCREEN: 60, PAPER: 14, APPENDIX: 1000}
"""Findings in the table; on paper the worst."""

VERDICTS: dict[str, tuple[str, str]] = {
    "pass": ("Pass", "good"),
    "fail": ("Fail", "bad"),
    "inconclusive": ("Inconclusive", "unsure"),
    "no gates set": ("No gates set", "plain"),
    "waived": ("Waived", "unsure"),
}
"""Word and style of each verdict and gate status."""

FINDINGS: dict[str, str] = {
    "strong": "bad",
    "partial": "warn",
    "nonlinear": "warn",
    "unstable": "unsure",
    "redundant": "plain",
    "cannot tell": "unsure",
    "not detected": "good",
    "not applicable": "plain",
}
"""Style of each finding, the gravest first."""


@dataclass(frozen=True)
class Figures:
    """Charts as SVG text; None where the result has nothing to draw."""

    spectrum: str
    scatter: str | None
    violins: str | None
    box: bool
    """The control is known for both scores of the scatter."""
    class_words: list[tuple[str, str, int]]
    """(class, chart, images) of the classes whose reading changes most."""


@dataclass(frozen=True)
class ScoreRow:
    """One score and what every family of controls gives for it."""

    label: str
    unit: str
    observed: float
    statistic: Statistic | None
    """The score with its interval, where it is one over images."""
    controls: list[ControlScore | None]
    """In the order of the table's families."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores against controls: a row a score, a column a family."""

    families: list[ControlPart]
    rows: list[ScoreRow]


SCORES = {
    "scores.image_score_deg": ("IS, zero removal", "°"),
    "scores.attribute_score_deg": ("|AS|, zero removal", "°"),
    "scores.signed_attribute_score_deg": ("AS, zero removal", "°"),
    "scores.ratio": ("IS / |AS|, zero removal", ""),
    "scores.mean_removal.image_score_deg": ("IS, mean removal", "°"),
    "scores.mean_removal.attribute_score_deg": ("|AS|, mean removal", "°"),
    "scores.mean_removal.signed_attribute_score_deg": ("AS, mean removal", "°"),
    "scores.mean_removal.ratio": ("IS / |AS|, mean removal", ""),
}
"""Label and unit of the scores, in the table's order."""


def score_table(result: AuditResult) -> ScoreTable:
    """Every score of the model beside every family of controls."""
    tables = [{s.score: s for s in family.scores} for family in result.controls]
    rows = []
    for path, (label, unit) in SCORES.items():
        found: Any = result
        for step in path.split("."):
            found = getattr(found, step, None)
        beside = [table.get(path) for table in tables]
        drawn = next((s for s in beside if s is not None), None)
        if found is None and drawn is None:
            continue
        observed = found.value if isinstance(found, Statistic) else drawn.observed if drawn else 0.0
        rows.append(ScoreRow(label, unit, observed, found if isinstance(found, Statistic) else None, beside))
    return ScoreTable(list(result.controls), rows)


def control_of(result: AuditResult, name: str) -> ControlScore | None:
    """The first control's entry for the score ``name``, if it was drawn."""
    return next((s for control in result.controls for s in control.scores if s.score == name), None)


def figures(result: AuditResult) -> Figures:
    """Draw every chart the result has data for."""
    scatter, box = None, False
    if result.scatter is not None and result.scatter.image_score_deg:
        signed = min(result.scatter.attribute_score_deg) < 0
        across = "scores.signed_attribute_score_deg" if signed else "scores.attribute_score_deg"
        controls = control_of(result, across), control_of(result, "scores.image_score_deg")
        scatter, box = charts.scatter(result.scatter, *controls), None not in controls
    ranked = ranked_classes(result)
    drawn = [c for c in ranked if len(c.quantiles_deg) == 21]
    arrows = [(c.name, charts.word_arrows(c), c.images) for c in charts.telling_classes(result.classes)]
    violins = charts.violins(drawn) if drawn else None
    return Figures(charts.spectrum(result.geometry), scatter, violins, box, arrows)


def _as_images(drawn: Figures) -> Figures:
    """The charts as image elements: the PDF's maker would work out the style of each of thousands of dots."""

    def image(svg: str) -> str:
        label = re.search(r'aria-label="([^"]*)"', svg)
        data = base64.b64encode(svg.encode()).decode()
        return f'<img alt="{label[1] if label else ""}" src="data:image/svg+xml;base64,{data}">'

    return replace(
        drawn,
        spectrum=image(drawn.spectrum),
        scatter=drawn.scatter and image(drawn.scatter),
        violins=drawn.violins and image(drawn.violins),
        class_words=[(name, image(svg), n) for name, svg, n in drawn.class_words],
    )


def ranked_classes(result: AuditResult) -> list[ClassPart]:
    """Classes, largest mean |AS| first, those without images last; ties keep the model's order."""
    return sorted(
        result.classes, key=lambda c: -(c.attribute_score_deg.value if c.attribute_score_deg is not None else -1.0)
    )


def ranked_concepts(result: AuditResult) -> list[ConceptPart]:
    """Concepts, those that mean removal moves most first."""
    return sorted(result.concepts, key=lambda c: -abs(c.attribute_score_deg.value))


def ranked_findings(result: AuditResult) -> list[FindingPart]:
    """Findings, the gravest kind first, the largest carried share first inside a kind."""
    order = list(FINDINGS)
    return sorted(
        result.findings, key=lambda f: (order.index(f.finding), -(f.carried_share.value if f.carried_share else 0.0))
    )


def shown_findings(result: AuditResult) -> tuple[list[FindingPart], dict[str, int]]:
    """(findings to show, findings of single concepts left out and how many of each): all groups, and of single
    concepts, of which there may be thousands, the first ``SHOWN_CONCEPTS`` about which something is claimed."""
    ranked = ranked_findings(result)
    silent = ("cannot tell", "not detected", "not applicable")
    claimed = [f.group for f in ranked if f.kind == "concept" and f.finding not in silent]
    kept = set(claimed[:SHOWN_CONCEPTS])
    shown = [f for f in ranked if f.kind != "concept" or f.group in kept]
    left_out = Counter(str(f.finding) for f in ranked if f.kind == "concept" and f.group not in kept)
    return shown, dict(left_out)


SECTIONS = {
    "gates": "Gates",
    "pictures": "Pictures",
    "groups": "Groups and concepts",
    "classes": "Classes",
    "words": "In words",
    "scores": "Scores and controls",
    "head": "Head and spectrum",
    "limits": "Limits",
    "reproduce": "Reproduce",
}
"""The evidence: template and anchor, and the name in the list of contents, in their order."""


def contents(result: AuditResult) -> list[tuple[str, str]]:
    """The sections for which a result holds anything: (anchor, name)."""
    empty = {
        "pictures": not (result.gallery or result.pictures or result.generation),
        "groups": not (result.findings or result.concepts),
        "classes": not any(c.attribute_score_deg is not None for c in result.classes),
        "words": result.words is None,
        "scores": not (result.scores or result.controls),
    }
    return [(anchor, name) for anchor, name in SECTIONS.items() if not empty.get(anchor)]


def context(result: AuditResult, drawn: Figures, paper: bool = False, appendix: bool = False) -> dict[str, Any]:
    """Everything the templates read, the ``drawn`` charts among it, as much as a screen or ``paper`` takes."""
    limits = APPENDIX if paper and appendix else PAPER if paper else SCREEN
    concepts = ranked_concepts(result)[: limits.concepts]
    bounds = [bound for c in concepts for bound in (c.attribute_score_deg.low, c.attribute_score_deg.high)]
    shown, left_out = shown_findings(result)
    kept = _TABLE_GROUPS.get(limits, 60)
    for f in shown[kept:]:
        left_out[f.finding] = left_out.get(f.finding, 0) + 1
    words = [*result.words.lost[: limits.words], *result.words.gained[: limits.words]] if result.words else []
    return {
        "result": result,
        "brief": brief_of(result),
        "anchors": True,
        "contents": contents(result),
        "limits": limits,
        "figures": _as_images(replace(drawn, class_words=drawn.class_words[: limits.charts])) if paper else drawn,
        "ranked": ranked_classes(result)[: limits.classes],
        "gallery": result.gallery[: limits.gallery],
        "concepts": concepts,
        "concept_domain": bars.domain_of(bounds),
        "findings": shown[:kept],
        "findings_left_out": left_out,
        "score_table": score_table(result),
        "word_domain": bars.domain_of(
            bound for w in words if w.change_deg is not None for bound in (w.change_deg.low, w.change_deg.high)
        ),
        **picture_context(result, limits.pictures, paper),
    }
