"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.report.brief.compared import compared_answer, finding_word
from singaudit.report.build.comparison import SCORES
from singaudit.report.pages import comparison_charts, view
from singaudit.report.pages.html import page
from singaudit.report.pages.text import cleaned
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.comparison import Comparison


def render_comparison(found: Comparison, results: Sequence[AuditResult]) -> str:
    """The comparison as one HTML document that loads nothing. Raises ReportError when templates are missing."""
    shown = Comparison.model_validate(cleaned(found.model_dump()))
    names = [m.name for m in shown.models]
    return page(
        "compare.html.j2",
        comparison=shown,
        answer=compared_answer(shown),
        finding_word=finding_word,
        labels={k: v[0] for k, v in SCORES.items()},
        verdicts=view.VERDICTS,
        ellipses=comparison_charts.ellipses([r.scatter for r in results]),
        ratio=comparison_charts.bars(names, [m.scores["ratio"] for m in shown.models], "IS / |AS|"),
        effect=comparison_charts.bars(
            names, [m.effect_same_norm for m in shown.models], "effect size of |AS| against random subspaces", True
        ),
    )
