"""The verdict in a reader's words: may it ship, what is ignored, how sure, what follows."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.report.brief.gates import Asked
from singaudit.report.brief.ignored import IF_IT_READS, OF_NAMED
from singaudit.report.brief.model import Mark, Row
from singaudit.report.brief.words import counted, listed, per_cent, share_text
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic

WORDS = {
    "pass": "Pass",
    "fail": "Fail",
    "inconclusive": "Inconclusive",
    "no gates set": "No gates set",
}
"""Word of each verdict."""


def sentence(result: AuditResult, gates: Sequence[Asked], rows: Sequence[Row], marks: Sequence[Mark]) -> str:
    """May it ship, and what is ignored. Of a failed or undecided gate, what it is about, never its rule."""
    status = result.verdict.status
    if status == "fail":
        faults = _faults(gates, rows, result.data.class_gain if result.data else None)
        doubts = _doubts(marks)
        held = f". Still to settle: {doubts}" if doubts else ""
        return f"Do not ship as it is: {faults}{held}."
    if status == "inconclusive":
        return f"Not decided, and so no pass: {_doubt(result, gates, marks)}."
    ignored = _ignored(rows)
    if status == "no gates set":
        found = f"{ignored[:1].upper()}{ignored[1:]}" if ignored else _nothing(rows)
        doubts = _doubts([mark for mark in marks if mark.state == "red"])
        found += f". In doubt: {doubts}" if doubts else ""
        return f"{found}. Whether it may ship is not decided: no gate says what must not be ignored."
    named = {a.group for a in gates}
    beyond = _ignored([row for row in rows if row.group not in named])
    held = _held([a for a in gates if a.group is not None and a.forbids and a.gate.status == "pass"], rows)
    waived = any(a.gate.status == "waived" for a in gates)
    every = "what fails is waived" if waived else "all of them hold"
    passed = f"By your gates it may ship: {held or every}"
    doubts = _doubts(marks)
    passed += f". In doubt: {doubts}" if doubts else ""
    if not beyond:
        return f"{passed}."
    return f"{passed}. No gate asks about the rest: {beyond}, a fault only if that must count."


def _held(gates: Sequence[Asked], rows: Sequence[Row]) -> str:
    """What gates on groups found, as the middle of a sentence; empty without such gates."""
    little = {row.group for row in rows if row.finding == "not detected"}
    seen = [a.subject for a in gates if a.group not in little]
    found = [f"the head does not ignore {listed(seen)}"] if seen else []
    if len(seen) < len(gates):
        some = listed([a.subject for a in gates if a.group in little])
        found.append(f"what the head ignores hardly shows {some}")
    return ", and ".join(found)


def _doubts(marks: Sequence[Mark]) -> str:
    """What of the instrument makes a verdict less sure; empty where nothing does."""
    return "; ".join(f"{mark.name} {mark.text}" for mark in marks if mark.state != "ok" and mark.name != "shadow copy")


def certainty(result: AuditResult, gates: Sequence[Asked], rows: Sequence[Row], reads: bool) -> str:
    """How sure that is and what it rests on, and what follows from it: of what failed, else of the worst finding.

    ``reads``: whether the language model can be relied on.
    """
    failed = [a for a in gates if a.gate.status == "fail"]
    ignored = [row for row in rows if row.style in ("bad", "warn") and row.bar is not None]
    ignored.sort(key=lambda row: row.group not in {a.group for a in failed})
    worst = next(iter(ignored), None)
    used = result.data.audit.used if result.data is not None else 0
    g = result.geometry
    if result.data is None:
        share = f"{100 * g.null_dim / g.feature_dim:.0f}\u00a0%"
        return (
            f"The head ignores {share} of the directions of its feature space ({g.null_dim:,} of {g.feature_dim:,}); "
            "what they mean was not measured."
        )
    accuracy = result.data.accuracy
    if failed and all(a.loses_class for a in failed) and accuracy is not None:
        probe = result.data.class_probe
        chance = result.data.chance_accuracy
        right = f"It is right in {share_text(accuracy)} of {counted(used, 'image')}"
        if probe is None or chance is None or chance >= 1:
            return (
                f"{right}; a probe of its features reads the classes better, so that a better last layer is possible."
            )
        above = per_cent(max(0.0, accuracy.value - chance) / (1 - chance))
        return (
            f"{right}, {above} of what is possible above chance; a linear probe of its features reaches "
            f"{share_text(probe)}, so that a better last layer is possible."
        )
    if worst is not None and worst.bar is not None:
        measure, shown = OF_NAMED[worst.bar.measure].format(worst.name), worst.bar.text
        begins = f"{shown[:1].upper()}{shown[1:]}" if reads else f"{IF_IT_READS}, {shown}"
        return (
            f"{begins} {measure} (95\u00a0% interval, "
            f"{counted(used, 'image')}): {'it' if worst.style == 'bad' else 'that part'} can change and no logit moves."
        )
    told = sum(row.style in ("plain", "good") for row in rows)
    if told and worst is None:
        return (
            f"Looked for in {counted(used, 'image')} with 95\u00a0% intervals. It speaks of the last layer and of what "
            "the language model reads; earlier layers may ignore things of their own."
        )
    if result.verdict.status == "inconclusive":
        return f"Nothing follows from {counted(used, 'image')} for or against the model; see what to do next."
    return f"Measured on {counted(used, 'image')}."


def _ignored(rows: Sequence[Row]) -> str:
    """What the head ignores, as the middle of a sentence; empty where nothing is."""
    wholly = [row.name for row in rows if row.style == "bad"]
    partly = [row.name for row in rows if row.style == "warn"]
    parts = [f"the head ignores {listed(wholly)}"] if wholly else []
    if partly:
        parts.append(f"{'' if wholly else 'the head ignores '}part of what shows {listed(partly)}")
    return " and ".join(parts)


def _nothing(rows: Sequence[Row]) -> str:
    told = [row.name for row in rows if row.style in ("plain", "good")]
    return f"The head does not ignore {listed(told, 4)}" if told else "Nothing can be said of what the head ignores"


def _faults(gates: Sequence[Asked], rows: Sequence[Row], gain: Statistic | None) -> str:
    failed = [a for a in gates if a.gate.status == "fail"]
    by_group = {row.group: row for row in rows}
    groups = [a.group for a in failed if a.group is not None and a.forbids]
    found = _ignored([by_group[g] for g in groups if g in by_group])
    parts = [f"{found.replace('the head', 'its head', 1)}, and your gates say that it must count"] if found else []
    parts += [
        f"its head ignores {listed([a.subject])}" for a in failed if a.group in groups and a.group not in by_group
    ]
    for a in failed:
        if a.group is not None and not a.forbids:
            parts.append(f"{a.subject} was to be ignored and is not")
        elif a.group is None and a.loses_class and gain is not None:
            parts.append(f"its logits lose {share_text(gain)} of what its features know of the classes{_allowed(a)}")
        elif a.group is None:
            parts.append(f"{a.subject} is {_value(a)}, allowed: {a.gate.limit}")
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")


def _allowed(a: Asked) -> str:
    """How much a gate on a share allows, where its limit is a number."""
    try:
        return f" (you allow {per_cent(float(a.gate.limit.split()[-1]))})"
    except (ValueError, IndexError):  # a limit of words
        return ""


def _value(a: Asked) -> str:
    g = a.gate
    return f"{g.value:.3g}" if g.value is not None else g.found


def _doubt(result: AuditResult, gates: Sequence[Asked], marks: Sequence[Mark]) -> str:
    """The first reasons why nothing is decided, the instrument's before the model's."""
    if result.data is None:
        return "no images were given, so what the head ignores has no names yet"
    if result.geometry.null_dim == 0:
        return "the head ignores no direction of its feature space, so this audit has nothing to look at"
    red = [mark for mark in marks if mark.state == "red"]
    if red:
        first = f"{red[0].name} {red[0].text}" if red[0].name == "language model" else f"{red[0].name}: {red[0].text}"
        rest = f"; nor can the {listed([mark.name for mark in red[1:]])} be relied on" if red[1:] else ""
        return f"the audit could not measure well enough. The {first}{rest}"
    open_ = [a for a in gates if a.gate.status == "inconclusive"]
    groups = [a.subject for a in open_ if a.group is not None]
    if groups:
        return f"whether the head ignores {listed(groups)} cannot be told from these images"
    if any(a.loses_class for a in open_) and result.data.labels != "true":
        return (
            "how much of what its features know of the classes its logits lose cannot be told: these images have no "
            "true labels"
        )
    if open_:
        return f"{listed([a.subject for a in open_])} cannot be judged from these images"
    return result.verdict.reasons[0] if result.verdict.reasons else "the audit came to no conclusion"
