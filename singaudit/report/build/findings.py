"""From what was judged to findings and controls of the result: pure assembly, no computation on images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from singaudit.metrics.control_moves import DIRECTIONS, HAAR, MATCHED, SHUFFLED
from singaudit.metrics.control_run import Family
from singaudit.metrics.controls import Against
from singaudit.metrics.findings import sentence
from singaudit.metrics.group_numbers import GroupMeasure
from singaudit.metrics.judge import JudgedGroup
from singaudit.report.build.scores import maybe, rounded, statistic
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import BeyondClass, FindingPart, NullFollow, ProbePart, Readability, TextTest
from singaudit.report.result.scores import ControlPart, ControlScore

# Most telling first: what reads one control reads this one.
_ORDER = (MATCHED, HAAR, DIRECTIONS, SHUFFLED)
# Share of an observed carried share from which random subspaces are said to carry as much.
_AS_MUCH = 0.9


def control_parts(families: Iterable[Family]) -> list[ControlPart]:
    """Model-level scores beside every family of controls."""
    return [
        _part(family, {f"scores.{name}": against for name, against in family.scores.items()})
        for family in sorted(families, key=lambda f: _ORDER.index(f.name))
    ]


def _part(family: Family, scores: dict[str, Against]) -> ControlPart:
    return ControlPart(
        name=family.name,
        draws=family.draws,
        images=family.images,
        scores=[_score(name, against) for name, against in scores.items()],
    )


def _score(name: str, a: Against) -> ControlScore:
    return ControlScore(
        score=name,
        observed=rounded(a.observed),
        control_mean=rounded(a.mean),
        control_low=rounded(a.low),
        control_high=rounded(a.high),
        percentile=statistic(a.percentile),
        effect_size=statistic(a.effect_size) if a.effect_size else None,
    )


def finding_parts(judged: Sequence[JudgedGroup], families: Sequence[Family]) -> list[FindingPart]:
    """Every group's finding with the numbers that led to it."""
    ordered = sorted(families, key=lambda f: _ORDER.index(f.name))
    return [
        _finding(found, [_part(f, f.groups[name]) for f in ordered if name in f.groups])
        for found in judged
        for name in (found.group.of.name,)
    ]


def _finding(judged: JudgedGroup, controls: list[ControlPart]) -> FindingPart:
    e, group, measure = judged.evidence, judged.group.of.group, judged.group.numbers
    labelled = judged.group.of.labels is not None
    share = maybe(e.carried_share) if judged.shows_share else None
    carried = measure.carried if measure else None
    return FindingPart(
        group=group.name,
        kind=group.kind,
        finding=judged.finding,
        rule=judged.rule,
        sentence=sentence(group.name, judged.finding, e.carried_share if share else None)
        + _read(judged)
        + _as_any_head(judged, controls),
        values=list(group.values),
        values_judged=[group.values[v] for v in judged.group.values.present] if measure else [],
        own_value="labels" if labelled else "zero-shot",
        margin_deg=maybe(e.margin),
        margin_shuffled_deg=_shuffled(controls),
        margin_encoder_deg=maybe(measure.margin_encoder) if measure else None,
        contrast_deg=maybe(carried.contrast) if carried else None,
        carried_share=share,
        null_follow=_follow(measure, e.follow_q),
        probe=_probe(measure),
        beyond_class=_beyond(measure) if measure and group.kind != "class" else None,
        quadratic_probe=_quadratic(measure),
        meaningless_texts=_texts(judged),
        readable=judged.readable,
        readability=Readability(score=maybe(e.readable), basis="labels" if labelled else "two prompt sets"),
        stable=judged.stable,
        control=next((s for part in controls for s in part.scores if s.score == "contrast_deg"), None),
        controls=controls,
    )


def _read(judged: JudgedGroup) -> str:
    """How many of the values were read, where that is not all of them and no label states them."""
    e = judged.evidence
    if e.labelled or judged.finding in ("cannot tell", "not applicable") or e.values_judged == e.values_listed:
        return ""
    return f" Of its {e.values_listed} values, {e.values_judged} are read in enough images to be judged."


def _as_any_head(judged: JudgedGroup, controls: list[ControlPart]) -> str:
    """That a random head would take as much of the reading along, where it would: then the share says nothing.

    So it is where nearly all directions are null, as with two classes.
    """
    if judged.finding not in ("strong", "partial"):
        return ""
    scores = [s for part in controls if part.name == HAAR for s in part.scores if s.score == "carried_share"]
    if not scores or not scores[0].control_mean >= _AS_MUCH * scores[0].observed:
        return ""
    gain = judged.evidence.probe_gain
    return (
        f" Of its reading any head of so few classes would ignore as much (random subspaces of this size carry "
        f"{scores[0].control_mean:.0%}): what tells is that the logits lack {gain.value:.0%} of what features decode."
    )


def _shuffled(controls: list[ControlPart]) -> Statistic | None:
    """The margin by shuffled translators, over draws."""
    for part in controls:
        for score in part.scores:
            if score.score == "margin_deg":
                return Statistic(value=score.control_mean, low=score.control_low, high=score.control_high, n=part.draws)
    return None


def _follow(measure: GroupMeasure | None, q: float) -> NullFollow | None:
    follow = maybe(measure.carried.follow) if measure else None
    normalised = maybe(measure.carried.follow_normalised) if measure else None
    if measure is None or follow is None or normalised is None:
        return None
    return NullFollow(
        **follow.model_dump(),
        chance=rounded(measure.carried.follow_chance),
        normalised=normalised,
        of_read=maybe(measure.carried.follow_share),
        q=rounded(q),
    )


def _probe(measure: GroupMeasure | None) -> ProbePart | None:
    if measure is None:
        return None
    return ProbePart(
        features=statistic(measure.probe),
        principal=statistic(measure.probe_principal),
        null=statistic(measure.probe_null),
        gain=maybe(measure.probe_gain),
    )


def _beyond(measure: GroupMeasure) -> BeyondClass:
    b = measure.beyond
    parts = [maybe(e) for e in (b.probe, b.probe_principal, b.probe_null)]
    probe = None
    if parts[0] is not None and parts[1] is not None and parts[2] is not None:
        probe = ProbePart(features=parts[0], principal=parts[1], null=parts[2], gain=maybe(b.probe_gain))
    return BeyondClass(
        class_knows=maybe(b.class_knows),
        units=b.units,
        carried_share=maybe(b.carried_share),
        null_follow=maybe(b.follow_normalised),
        probe=probe,
    )


def _quadratic(measure: GroupMeasure | None) -> ProbePart | None:
    parts = [maybe(e) for e in measure.nonlinear] if measure else [None]
    whole, principal, null = parts if len(parts) == 3 else (None, None, None)
    if whole is None or principal is None or null is None:
        return None
    return ProbePart(features=whole, principal=principal, null=null)


def _texts(judged: JudgedGroup) -> TextTest | None:
    test = judged.evidence.texts
    if test is None:
        return None
    return TextTest(
        spread=rounded(test.spread),
        beaten=rounded(test.beaten),
        draws=test.draws,
        words_beaten=None if test.words_beaten is None else rounded(test.words_beaten),
        word_draws=test.word_draws,
    )
