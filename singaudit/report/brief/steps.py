"""What to do next: at most three commands that can be pasted, made from the command that ran the audit.

Words in capitals stand for what only the reader knows, as PHOTOS for a folder.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from singaudit.repair.suggest import compare_command, refit_command, trim_command
from singaudit.report.brief.gates import Asked
from singaudit.report.brief.ignored import reason, says_something
from singaudit.report.brief.instrument import BUILTIN
from singaudit.report.brief.model import MAX_STEPS, Mark, Row, Step
from singaudit.report.brief.words import listed, readable
from singaudit.report.gates.rules import MAX_CLASS_GAIN
from singaudit.report.result.audit import AuditResult

_CLIP, _SIGLIP = "openai/clip-vit-large-patch14", "google/siglip-so400m-patch14-384"
_MORE_SHAPES = 4000
ARRAYS = "arrays"
"""Format of what was audited as a folder of arrays."""


def steps(result: AuditResult, gates: Sequence[Asked], rows: Sequence[Row], marks: Sequence[Mark]) -> tuple[Step, ...]:
    """The instrument's faults first, then what failed, then what would make the next audit say more."""
    found: dict[str, Step] = {}
    for step in _all(result, gates, rows, marks):
        found.setdefault(step.command, step)
    return tuple(found.values())[:MAX_STEPS]


def _all(result: AuditResult, gates: Sequence[Asked], rows: Sequence[Row], marks: Sequence[Mark]) -> Iterator[Step]:
    try:
        words = shlex.split(result.reproduce.command)
    except ValueError:  # a result may come from anywhere
        return
    if words[:2] != ["singaudit", "run"] or len(words) < 3:
        return
    if result.geometry.null_dim == 0:  # whatever was measured better, nothing would be found
        return
    if result.data is None:
        seen = [word for word in words if word != "--geometry-only"]
        yield Step("Show it images, so that what is ignored gets a name.", _with(seen, "--images", "PHOTOS"))
        return
    if result.model.format == ARRAYS:
        # No other command opens a folder of arrays, and nothing but another folder mends one.
        yield from _other_arrays(words, {mark.name: mark for mark in marks})
        yield from _gates(result, gates, rows, words)
        return
    yield from _instrument(result, words, {mark.name: mark for mark in marks})
    yield from _refit(result, gates, words)
    yield from _failed(result, gates, words)
    undecided = [f for f in result.findings if not says_something(f) and f.kind != "concept"]
    asked_for = {a.group for a in gates if a.gate.status == "inconclusive"}
    if any(mark.state == "red" for mark in marks):
        undecided = []  # what cannot be told for want of an instrument was answered with it
    for f in sorted(undecided, key=lambda f: f.group not in asked_for)[:1]:
        help_ = reason(f)[1]
        if "--vlm" in help_:
            yield Step(
                f"Ask a language model that reads {readable(f.group)} in such images.",
                _with(words, "--vlm", _other_vlm(result)),
            )
        elif "labels" in help_:
            yield Step(f"State the values of {readable(f.group)} in a table.", _with(words, "--labels", "LABELS.csv"))
        elif help_:
            rest = " and what else cannot be told" if len(undecided) > 1 else ""
            settled = f"Settle {readable(f.group)}{rest}"
            needed = "" if f.group in asked_for else ", if that matters"
            yield Step(f"{settled}{needed}.", _with(words, *_more_images(result)))
    yield from _gates(result, gates, rows, words)
    others = [row for row in rows if row.style in ("bad", "warn") and row.group != "class"]
    # Beside a failure it would look like a remedy, and is none.
    if others and result.verdict.status != "fail":
        yield Step(
            f"If features are stored or shared, hand on what the logits see alone: the rest shows {others[0].name}.",
            trim_command(words),
        )


def _other_arrays(words: list[str], marks: dict[str, Mark]) -> Iterator[Step]:
    """Arrays written anew, where what was measured with cannot be relied on."""
    red = [name for name in ("language model", "images", "translator") if marks[name].state == "red"]
    if red:
        wanted = ["embeddings by a language model that reads your classes"] if red[0] == "language model" else []
        wanted += ["more images"] if len(red) > len(wanted) else []
        yield Step(f"Write the arrays anew, with {listed(wanted)}.", _with(words, "--arrays", "NEW_ARRAYS"))


def _gates(result: AuditResult, gates: Sequence[Asked], rows: Sequence[Row], words: list[str]) -> Iterator[Step]:
    """What a gate could be set on."""
    ignored = [row for row in rows if row.style in ("bad", "warn")]
    if result.verdict.status == "no gates set":
        gate = f"finding[{ignored[0].group}] not in (strong, partial)" if ignored else "default"
        yield Step("Say what must not be ignored, so that the audit can decide.", _plus(words, "--gate", gate))
    unasked = [row for row in ignored if row.group not in {a.group for a in gates}]
    if gates and unasked and result.verdict.status == "pass":
        gate = f"finding[{unasked[0].group}] not in (strong, partial)"
        yield Step(f"If {unasked[0].name} matters, let a gate say so.", _plus(words, "--gate", gate))


def _refit(result: AuditResult, gates: Sequence[Asked], words: list[str]) -> Iterator[Step]:
    """A last layer fitted anew, where the features know the class better than the logits do.

    On the audit's own images where these have labels; without, labelled ones are to be named. Labels of the class do
    not make another group count, so that none is offered for such a group.
    """
    data = result.data
    loses_class = any(a.gate.status == "fail" and a.loses_class for a in gates) or (
        data is not None and data.class_gain is not None and data.class_gain.low > MAX_CLASS_GAIN
    )
    ignores_class = any(f.kind == "class" and f.finding in ("strong", "partial") for f in result.findings)
    if not loses_class and not ignores_class:
        return
    if data is None or data.labels != "true":
        words = _set(words, "--images", "LABELLED_PHOTOS")
    command = refit_command(words, [f.group for f in result.findings if f.own_value == "labels" and f.kind == "group"])
    if command is not None:
        yield Step(
            "Fit the last layer anew, so that what the features know of the classes counts; it is judged on images it "
            "did not see. Then audit the new file.",
            command,
        )


def _instrument(result: AuditResult, words: list[str], marks: dict[str, Mark]) -> Iterator[Step]:
    """One command that mends all of it: one that mended a part would end inconclusive again."""
    changes: list[tuple[str, str, str]] = []
    if result.model.preprocessing.guessed:
        changes.append(
            ("Correct the preprocessing, of which this is a guess", "--preprocess", result.model.preprocessing.settings)
        )
    if marks["language model"].state == "red" and result.encoder is not None:
        changes.append(("ask a language model that reads your classes", "--vlm", _other_vlm(result)))
    elif marks["language model"].state == "amber" and _could_be_labelled(result):
        changes.append(("let labels show whether the language model reads these images", "--labels", "LABELS.csv"))
    if marks["images"].state == "red" and not result.model.preprocessing.guessed:
        changes.append(("audit enough images for findings", *_more_images(result, audit=True)))
    elif marks["translator"].state == "red":
        changes.append(("give the translator enough images, which need no labels", *_more_images(result)))
    for _, option, value in changes:
        words = _set(words, option, value)
    if changes:
        why = "; ".join(what for what, _, _ in changes)
        yield Step(f"{why[:1].upper()}{why[1:]}.", shlex.join(words))


def _could_be_labelled(result: AuditResult) -> bool:
    """Whether the audited images have no true labels and somebody could write them: nobody does for generated ones."""
    data = result.data
    return data is not None and data.labels != "true" and not data.audit.source.startswith("shapes:")


def _failed(result: AuditResult, gates: Sequence[Asked], words: list[str]) -> Iterator[Step]:
    failed = [a.group for a in gates if a.gate.status == "fail" and a.group not in (None, "class") and a.forbids]
    made = result.generation is not None and result.generation.group in failed and result.generation.success is not None
    names = [readable(str(group)) for group in failed]
    if failed and not made:
        yield Step(
            f"See it: images with the same logits and another {names[0]}.",
            # Where none were asked for, that would go on saying so.
            _with(_without(words, "--generate"), "--toward", str(failed[0])),
        )
    if failed:
        yield Step(
            f"If {listed(names)} must count, label and train for it, then compare both models; if not, drop the gate.",
            compare_command(words),
        )


def _more_images(result: AuditResult, audit: bool = False) -> tuple[str, str]:
    """Option and value: more audited images, or unlabelled ones beside them; generated ones by their number."""
    source = result.data.audit.source if result.data is not None else ""
    if source.startswith("shapes:"):
        number = _MORE_SHAPES
        while result.data is not None and number <= result.data.audit.found:
            number *= 2
        return "--images", f"shapes:{number}"
    return "--images" if audit else "--probe", "MORE_PHOTOS"


def _other_vlm(result: AuditResult) -> str:
    family, name = (result.encoder.family, result.encoder.name) if result.encoder is not None else ("", "")
    return _CLIP if "siglip" in family.lower() or name == BUILTIN else _SIGLIP


def _with(words: list[str], option: str, value: str) -> str:
    """The command with an option set to a value, in the place of an earlier one."""
    return shlex.join(_set(words, option, value))


def _set(words: list[str], option: str, value: str) -> list[str]:
    """The command's words with an option set to a value, in the place of an earlier one."""
    return [*_without(words, option), option, value]


def _without(words: list[str], option: str) -> list[str]:
    """The command's words without an option and its value."""
    out, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word == option:
            skip = True
        else:
            out.append(word)
    return out


def _plus(words: list[str], option: str, value: str) -> str:
    """The command with one more of an option that may be given several times."""
    return shlex.join([*words, option, value])
