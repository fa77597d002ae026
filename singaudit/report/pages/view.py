"""What the templates show, chosen from a result: order, selection, and sentences that depend on the run."""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from singaudit.report.pages import bars, charts, class_charts
from singaudit.report.pages.pictures import picture_context
from singaudit.report.result.audit import AuditResult, GalleryItem
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import FindingPart, GatePart
from singaudit.report.result.scores import ClassPart, ConceptPart, ControlScore

MAX_ROWS = 1000
"""Table rows in HTML; result.json holds all of them."""
MAX_CONCEPTS = 300
"""Rows per concept group in HTML."""
PRINT_ROWS = 25
"""Table rows on paper."""
PRINT_GALLERY = 5
"""Gallery entries on paper."""
TELLING_PAIRS = 3
SHOWN_CONCEPTS = 24
"""Findings of single concepts on the page and in the terminal; result.json holds all of them."""

VERDICTS: dict[str, tuple[str, str]] = {
    "pass": ("Pass", "good"),
    "fail": ("Fail", "bad"),
    "inconclusive": ("Inconclusive", "unsure"),
    "no gates set": ("No gates set", "plain"),
}
"""Word and style of each verdict and gate status."""

FINDINGS: dict[str, str] = {
    "strong": "bad",
    "partial": "warn",
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
class ConceptGroup:
    """Concepts that exclude each other, e.g. colours, and what was found about them."""

    name: str | None
    finding: FindingPart | None
    concepts: list[ConceptPart]


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
    arrows = [(c.name, class_charts.word_arrows(c), c.images) for c in class_charts.telling_classes(result.classes)]
    violins = charts.violins(drawn) if drawn else None
    return Figures(charts.spectrum(result.geometry), scatter, violins, box, arrows)


def _as_images(drawn: Figures) -> Figures:
    """The charts as image elements: the PDF's maker would work out the style of each of thousands of dots."""

    def image(svg: str) -> str:
        label = re.search(r'aria-label="([^"]*)"', svg)
        data = base64.b64encode(svg.encode()).decode()
        return f'<img alt="{label[1] if label else ""}" src="data:image/svg+xml;base64,{data}">'

    return replace(
        drawn, spectrum=image(drawn.spectrum), scatter=drawn.scatter and image(drawn.scatter),
        violins=drawn.violins and image(drawn.violins),
        class_words=[(name, image(svg), n) for name, svg, n in drawn.class_words],
    )  # fmt: skip


def ranked_classes(result: AuditResult) -> list[ClassPart]:
    """Classes, largest mean |AS| first, those without images last; ties keep the model's order."""
    return sorted(
        result.classes, key=lambda c: -(c.attribute_score_deg.value if c.attribute_score_deg is not None else -1.0)
    )


def concept_groups(result: AuditResult) -> list[ConceptGroup]:
    """Concepts by group in the result's order, largest |AS| first inside a group; ungrouped ones last."""
    found = {f.group: f for f in result.findings}
    grouped: dict[str | None, list[ConceptPart]] = {}
    for concept in result.concepts:
        grouped.setdefault(concept.group, []).append(concept)
    names = sorted(grouped, key=lambda name: name is None)
    return [
        ConceptGroup(
            name,
            found.get(name) if name else None,
            sorted(grouped[name], key=lambda c: -abs(c.attribute_score_deg.value)),
        )
        for name in names
    ]


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


def telling_pairs(result: AuditResult) -> list[GalleryItem]:
    """The three entries whose move is largest among those that have both neighbours, each from another class first."""
    ready = [g for g in result.gallery if g.near_equivalent and g.near_equivalent[0].thumbnail and g.thumbnail]
    ready.sort(key=lambda g: (g.near_equivalent[0].name == (g.near_original[0].name if g.near_original else ""),))
    first: list[GalleryItem] = []
    for item in ready:
        if item.class_name not in {g.class_name for g in first}:
            first.append(item)
    rest = [item for item in ready if item not in first]
    return [*first, *rest][:TELLING_PAIRS]


def unmet_gates(result: AuditResult) -> list[tuple[GatePart, str]]:
    """Gates that did not pass, with what can be done about each."""
    return [(gate, advice(gate)) for gate in result.gates if gate.status != "pass"]


def advice(gate: GatePart) -> str:
    """What to do about a gate that did not pass."""
    if gate.status == "inconclusive":
        return (
            "Audit more images, which narrows the interval, or set the limit where the decision really lies. "
            "If the translator is the weak point, add unlabelled images with --probe or choose a vision-language "
            "model that reads this kind of image better."
        )
    subject = gate.rule.strip().lower()
    if subject.startswith("finding["):
        return (
            "Decide whether this attribute may matter for the task. If it must, the features already carry it: "
            "retrain or fine-tune the head with examples in which the attribute decides, or add it as an output of its "
            "own. If it must not, this is the invariance that was wanted: write the gate the other way round."
        )
    if subject.startswith(("class[", "concept[")):
        return (
            "Look at this row's images in the gallery. If what changes is part of the task, add training examples in "
            "which it alone separates the classes and retrain the head; if it is background, the gate is stricter than "
            "the task needs."
        )
    if subject.startswith("translator"):
        return (
            "The translator explains too little of these features for any score to be trusted: add unlabelled images "
            "with --probe, or choose a vision-language model that reads this kind of image better."
        )
    if subject.startswith("geometry"):
        return (
            "The null space follows from the head's shape and rank: a wider output, a narrower feature layer or a head "
            "of full rank makes it smaller."
        )
    return (
        "Compare the score with the control: inside the control's range it says little about this head. Outside of it, "
        "look at the findings and the gallery for what moves, and retrain the head with examples in which it decides."
    )


def context(result: AuditResult, drawn: Figures, paper: bool = False) -> dict[str, Any]:
    """Everything the templates read, the ``drawn`` charts among it; ``paper`` caps rows at what is printed."""
    ranked, groups = ranked_classes(result), concept_groups(result)
    statistics: list[Statistic] = [c.attribute_score_deg for c in result.concepts]
    limits = [bound for s in statistics for bound in (s.low, s.high, s.value)]
    shown, left_out = shown_findings(result)
    return {
        "result": result,
        "figures": _as_images(drawn) if paper else drawn,
        "verdict": VERDICTS[result.verdict.status],
        "ranked": ranked[: PRINT_ROWS if paper else MAX_ROWS],
        "concept_rows": PRINT_ROWS if paper else MAX_CONCEPTS,
        "gallery": result.gallery[: PRINT_GALLERY if paper else None],
        "groups": groups,
        "findings": shown,
        "findings_left_out": left_out,
        "reading_domain": bars.reading_domain(result.findings),
        "pairs": telling_pairs(result),
        "unmet": unmet_gates(result),
        "class_domain": bars.domain_of(q for c in ranked for q in c.quantiles_deg),
        "concept_domain": bars.domain_of(limits),
        "word_domain": bars.domain_of(
            bound
            for w in ([*result.words.lost, *result.words.gained] if result.words else [])
            if w.change_deg is not None
            for bound in (w.change_deg.low, w.change_deg.high)
        ),
        "gallery_classes": sorted({g.class_name for g in result.gallery}),
        "print_rows": PRINT_ROWS,
        "print_gallery": PRINT_GALLERY,
        **picture_context(result, paper),
    }
