"""An audit beside an earlier one of the same images: differences with intervals, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import ReportError
from singaudit.metrics.comparison import Score, differences, mean_score
from singaudit.metrics.findings import METHOD_VERSION
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic
from singaudit.report.result.baseline import (
    BaselineChange,
    BaselineFinding,
    BaselinePart,
    BaselineScore,
    BaselineScores,
)
from singaudit.report.result.findings import FindingPart

Array = NDArray[np.float64]
PerImage = Mapping[str, Sequence[object]]

MARGIN = 0.1
"""A change for the worse that may hide in an interval which still counts as the same: a tenth of a score, or of all
that a share can be. A gate on ``baseline.scores.attribute_score_deg.difference`` sets any other."""
MIN_IMAGES = 20
"""Of fewer images no interval says anything; as for gates."""
_ROUNDING = 4e-6
# Results keep six significant digits: a smaller difference is none.
_RANKS = {"strong": 2, "partial": 1, "redundant": 0, "not detected": 0}
_SCORES = {"image_score_deg": "the image score", "attribute_score_deg": "the class attribute score"}


def check_usable(before: AuditResult, name: str) -> None:
    """Raise ReportError, in words, for an earlier result that no audit of this version can be compared with."""
    if before.data is None or before.encoder is None or before.scores is None:
        raise ReportError(
            f"expected a baseline with images and scores, {name} has none", hint="Audit the last release with --images."
        )
    if before.method.version != METHOD_VERSION:
        raise ReportError(
            f"expected a baseline whose findings were made by version {METHOD_VERSION} of the method, those of {name} "
            f"were made by version {before.method.version} and are not comparable",
            hint="Audit the last release again with this version of singaudit.",
        )


def check_baseline(now: AuditResult, before: AuditResult, name: str) -> None:
    """Raise ReportError, in words, where the two say nothing about each other."""
    if now.data is None or now.encoder is None or now.scores is None:
        return
    check_usable(before, name)
    assert before.data is not None
    assert before.encoder is not None
    apart = []
    if now.data.audit.digest != before.data.audit.digest:
        apart.append(
            f"other images ({before.data.audit.used:,} of {before.data.audit.source} against "
            f"{now.data.audit.used:,} of {now.data.audit.source})"
        )
    if now.encoder.revision != before.encoder.revision:
        apart.append(
            f"another vision-language model ({before.encoder.name} {before.encoder.revision[:12]} against "
            f"{now.encoder.name} {now.encoder.revision[:12]})"
        )
    if apart:
        raise ReportError(
            f"expected a baseline that this audit can be compared with, but {name} has {' and '.join(apart)}",
            hint="Audit the last release again on these images and by this language model.",
        )


def baseline_part(
    now: AuditResult, rows: PerImage, before: AuditResult, earlier: PerImage | None, name: str
) -> BaselinePart | None:
    """The comparison with ``before``; None where this audit has no scores to compare.

    ``rows`` and ``earlier`` are the columns of the two scores.csv; without the second, or where it does not belong to
    ``before``, differences are judged by the two intervals. Raises ReportError as ``check_baseline`` does.
    """
    check_baseline(now, before, name)
    if now.scores is None or before.scores is None or before.data is None:
        return None
    pair = _aligned(rows, earlier)
    scores = {key: _score(key, now, before, pair) for key in _SCORES}
    found = {f.group: f for f in before.findings}
    findings = [_finding(f, found[f.group], pair) for f in now.findings if f.group in found]
    apart = sorted({f.group for f in now.findings} ^ set(found))
    worse = [s.sentence for s in scores.values() if s.change == "worse"]
    worse += [f.sentence for f in findings if f.change == "worse"]
    first = (
        f"worse than {before.model.name}: {'; '.join(worse)}"
        if worse
        else f"nothing was found to be worse than in {before.model.name}"
    )
    how = "scores judged image by image" if pair is not None else "by intervals alone: rows per image are missing"
    return BaselinePart(
        model_name=before.model.name, model_sha256=before.model.sha256, checksum=before.checksum,
        schema_version=before.schema_version, images=before.data.audit.used, paired=pair is not None, margin=MARGIN,
        scores=BaselineScores(**scores), findings=findings, not_compared=apart[:100],
        sentence=f"{first} ({how})"[:4096],
    )  # fmt: skip


def _aligned(rows: PerImage, earlier: PerImage | None) -> tuple[PerImage, PerImage] | None:
    """Both tables in one order of images; None where one is missing or has other images."""
    if earlier is None or "sha256" not in rows or "sha256" not in earlier:
        return None
    orders = [{str(key): i for i, key in enumerate(table["sha256"])} for table in (rows, earlier)]
    if orders[0].keys() != orders[1].keys() or len(orders[0]) != len(rows["sha256"]):
        return None
    picked = [[order[key] for key in sorted(order)] for order in orders]
    return tuple(  # type: ignore[return-value]
        {name: [column[i] for i in order] for name, column in table.items()}
        for table, order in zip((rows, earlier), picked, strict=True)
    )


def _column(table: PerImage, name: str) -> Array | None:
    """A column as numbers, NaN where a cell is empty; None where there is none."""
    if name not in table:
        return None
    try:
        return np.array([float(str(cell)) if cell not in ("", None) else np.nan for cell in table[name]], np.float64)
    except ValueError:
        return None


def _score(name: str, now: AuditResult, before: AuditResult, pair: tuple[PerImage, PerImage] | None) -> BaselineScore:
    old, new = getattr(before.scores, name), getattr(now.scores, name)
    columns = [_column(table, name) for table in pair] if pair is not None else [None, None]
    scores = [
        _mean(stat, column if name == "image_score_deg" or column is None else np.abs(column))
        for stat, column in zip((new, old), (columns[0], columns[1]), strict=True)
    ]
    if any(s.influence is None for s in scores):
        scores = [_mean(stat, None) for stat in (new, old)]
    difference, paired, change = _difference(scores[0], scores[1], min(new.n, old.n), MARGIN * abs(old.value))
    text = f"{_SCORES[name]} went from {old.value:.3g} to {new.value:.3g} degrees ({_interval(difference)})"
    return BaselineScore(before=old, difference=difference, paired=paired, change=change, sentence=f"{text}: {change}")


def _mean(stat: Statistic, column: Array | None) -> Score:
    """A score with each image's pull where the column is there and is this statistic's."""
    if column is None or not np.isfinite(column).all():
        return Score(stat.value, stat.low, stat.high, None)
    score = mean_score(column, (stat.low, stat.high))
    belongs = abs(score.value - stat.value) <= 1e-5 * max(1.0, abs(stat.value))
    return score if belongs else Score(stat.value, stat.low, stat.high, None)


def _difference(new: Score, old: Score, n: int, margin: float) -> tuple[Statistic | None, bool, BaselineChange]:
    """(new less old, whether image by image, what it says); more is worse."""
    d = differences([new, old])[0]
    none = _ROUNDING * max(1.0, abs(old.value))
    value, low, high = (0.0 if abs(d.value) <= none and abs(x) <= 2 * none else x for x in (d.value, d.low, d.high))
    change: BaselineChange = "cannot tell"
    if n >= MIN_IMAGES and np.isfinite([low, high]).all():
        if low > 0:
            change = "worse"
        elif high < 0:
            change = "better"
        elif high <= margin:
            change = "same"
    if not np.isfinite([low, high]).all():  # of one image: nothing is known
        return None, d.paired, change
    return Statistic(value=value, low=low, high=high, n=n), d.paired, change


def _finding(now: FindingPart, before: FindingPart, pair: tuple[PerImage, PerImage] | None) -> BaselineFinding:
    difference, paired, moved = None, False, None
    if now.carried_share is not None and before.carried_share is not None:
        new, old = (_share(f, table) for f, table in zip((now, before), pair or (None, None), strict=True))
        if new.influence is None or old.influence is None:
            new, old = _share(now, None), _share(before, None)
        n = min(now.carried_share.n, before.carried_share.n)
        difference, paired, moved = _difference(new, old, n, MARGIN)
    change = _changed(str(before.finding), str(now.finding), moved)
    text = f"{now.group} was {before.finding!r} and is {now.finding!r}"
    if difference is not None:
        text += f", its carried share moved by {_interval(difference)}"
    return BaselineFinding(
        group=now.group,
        before=before.finding,
        now=now.finding,
        difference=difference,
        paired=paired,
        change=change,
        sentence=f"{text}: {change}"[:4096],
    )


def _changed(before: str, now: str, moved: BaselineChange | None) -> BaselineChange:
    """What two words and the move of the number behind them say together."""
    if now not in _RANKS:
        return "same" if now == before == "not applicable" else "cannot tell"
    if _RANKS[now] == 0:
        return "better" if _RANKS.get(before, 0) > 0 else "same"
    if before not in _RANKS:
        return "cannot tell"
    step = _RANKS[now] - _RANKS[before]
    if step > 0:  # a word that crossed its limit by less than the interval is no proof
        return "worse" if moved in ("worse", None) else "cannot tell"
    if step < 0:
        return "better" if moved in ("better", None) else "cannot tell" if moved == "worse" else "same"
    return moved or "same"


def _share(finding: FindingPart, table: PerImage | None) -> Score:
    """A carried share with each image's pull: contrast over margin, values counting equally.

    Without rows, or where they do not give the share that the result holds, the interval alone.
    """
    stat = finding.carried_share
    assert stat is not None
    alone = Score(stat.value, stat.low, stat.high, None)
    if table is None:
        return alone
    contrast, margin = (_column(table, f"{finding.group}_{part}_deg") for part in ("contrast", "margin"))
    values = table.get(f"{finding.group}_value")
    if contrast is None or margin is None or values is None:
        return alone
    own = np.array([str(v) for v in values])
    kept = np.isin(own, finding.values_judged or finding.values) & np.isfinite(contrast) & np.isfinite(margin)
    if not kept.any():
        return alone
    names, inverse, counts = np.unique(own[kept], return_inverse=True, return_counts=True)
    weight = np.zeros(len(own))
    weight[kept] = 1.0 / (len(names) * counts[inverse])
    over, under = float(weight[kept] @ contrast[kept]), float(weight[kept] @ margin[kept])
    if under <= 0 or abs(over / under - stat.value) > 1e-4 * max(1.0, abs(stat.value)):
        return alone
    influence = np.zeros(len(own))
    influence[kept] = len(own) * weight[kept] * (contrast[kept] - over / under * margin[kept]) / under
    return Score(stat.value, stat.low, stat.high, influence)


def _interval(s: Statistic | None) -> str:
    if s is None:
        return "no interval: too few images"
    return f"{s.value:+.3g} [{s.low:+.3g}, {s.high:+.3g}]"
