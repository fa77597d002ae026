"""The brief says what a result holds: of the model, in words, and never more than was measured."""

import re
import shlex
from dataclasses import asdict
from typing import Any

import pytest
from report_factory import HOSTILE, full, geometry_only, stat

from singaudit.cli.main import main
from singaudit.metrics.findings import THRESHOLDS
from singaudit.report.brief.compared import compared_answer
from singaudit.report.brief.ignored import row as row_of
from singaudit.report.brief.ignored import says_something
from singaudit.report.brief.make import brief_of
from singaudit.report.brief.model import MAX_ROWS, MAX_STEPS, Brief
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.comparison import ComparedFinding, ComparedModel, Comparison

GATE = "finding[{}] not in (strong, partial)"


def changed(result: AuditResult, **parts: Any) -> AuditResult:
    """The result with parts exchanged, each a plain value or a function of the old one."""
    raw = result.model_dump()
    for name, value in parts.items():
        raw[name] = value(raw[name]) if callable(value) else value
    return AuditResult.model_validate(raw)


def judged(status: str, *gates: tuple[str, str], **parts: Any) -> AuditResult:
    """A result whose gates have these (rule, status)."""
    rows = [
        {"rule": rule, "found": "strong", "value": None, "low": None, "high": None, "n": None, "limit": "not in (...)",
         "status": outcome, "reason": "the finding is 'strong'"}
        for rule, outcome in gates
    ]  # fmt: skip
    verdict = {"status": status, "reasons": [], "sentence": ""}
    return changed(full(), gates=rows, verdict=verdict, **parts)


def findings(*wanted: tuple[str, str]) -> Any:
    """Findings (group, word), with numbers that fit the word."""
    pattern = {f.finding: f.model_dump() for f in full().findings}
    pattern["redundant"] = pattern["partial"] | {
        "finding": "redundant",
        "carried_share": stat(1.01, 0.02),
        "probe": {"features": stat(0.9), "principal": stat(0.9), "null": stat(0.9), "gain": stat(0.03, 0.02)},
    }
    pattern["unstable"] = pattern["partial"] | {"finding": "unstable"}
    for word in ("nonlinear", "not applicable"):
        pattern[word] = pattern["partial"] | {"finding": word}
    return [pattern[word] | {"group": group} for group, word in wanted]


def every_text(brief: Brief) -> str:
    raw = asdict(brief)
    if raw["picture"]:
        raw["picture"] |= {"left": "", "right": ""}
    return str(raw)


RESULTS = {
    "full": full(),
    "pass": full(status="pass"),
    "hostile": full(HOSTILE),
    "geometry": geometry_only(),
    "nothing told": judged("inconclusive", findings=findings(*((f"g{i}", "cannot tell") for i in range(24)))),
    "no gates": judged("no gates set"),
    "guessed": judged(
        "inconclusive",
        model=lambda m: m | {"preprocessing": m["preprocessing"] | {"guessed": ["mean", "std"]}},
    ),
    "few images": judged("inconclusive", data=lambda d: d | {"audit": d["audit"] | {"used": 80}}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_brief_is_brief_and_holds_no_rule(name: str) -> None:
    brief = brief_of(RESULTS[name])
    assert len(brief.rows) <= MAX_ROWS
    assert len(brief.steps) <= MAX_STEPS
    assert len(brief.marks) in (0, 4)
    if name != "hostile":
        assert len(brief.sentence) < 260
        assert len(brief.certainty) < 260
        assert "finding[" not in brief.sentence
        assert "not in (" not in brief.sentence
    assert "used in the decision" not in every_text(brief)


@pytest.mark.parametrize("name", RESULTS)
def test_every_command_of_a_brief_can_be_typed(name: str) -> None:
    for step in brief_of(RESULTS[name]).steps:
        words = shlex.split(step.command)
        assert words[0] == "singaudit"
        command = main.commands[words[1]]
        command.make_context(words[1], words[2:])


def test_of_a_failed_gate_is_said_what_is_ignored_and_how_sure() -> None:
    brief = brief_of(judged("fail", (GATE.format("colour"), "fail")))
    assert brief.word == "Fail"
    assert brief.sentence == (
        "Do not ship as it is: its head ignores colour, and your gates say that it must count. "
        "Still to settle: language model not checked: no labels."
    )
    assert brief.certainty.startswith("81\u00a0% [78, 84] of the reading of colour lies in what the head ignores")
    assert "800 images" in brief.certainty
    # Labels of the class do not make colour count.
    assert not any("refit" in step.command for step in brief.steps)
    assert any(s.command.startswith("singaudit compare leaky.onnx NEW_MODEL --images shapes:800") for s in brief.steps)


def test_a_pass_names_what_is_ignored_though_no_gate_asks() -> None:
    brief = brief_of(judged("pass", (GATE.format("size"), "pass")))
    assert brief.sentence == (
        "By your gates it may ship: what the head ignores hardly shows size. In doubt: language model not checked: no "
        "labels. "
        "No gate asks about the rest: the head ignores colour and part of what shows texture, a fault only if that "
        "must count."
    )
    assert any("finding[colour]" in step.command for step in brief.steps)


def test_without_gates_nothing_is_allowed() -> None:
    brief = brief_of(judged("no gates set"))
    assert "may ship is not decided" in brief.sentence
    assert brief.sentence.startswith("The head ignores colour and part of what shows texture.")


def test_what_is_not_decided_is_no_pass_and_says_why() -> None:
    undecided = brief_of(judged("inconclusive", (GATE.format("background"), "inconclusive")))
    assert undecided.sentence == (
        "Not decided, and so no pass: whether the head ignores background cannot be told from these images."
    )
    unlabelled = judged(
        "inconclusive", ("data.class_gain < 0.2", "inconclusive"), data=lambda d: d | {"labels": "predicted"}
    )
    assert brief_of(unlabelled).sentence.endswith("cannot be told: these images have no true labels.")
    few = brief_of(RESULTS["few images"])
    assert "80, at least 300 are needed" in few.sentence
    assert [mark.state for mark in few.marks][1] == "red"
    assert "no images were given" in brief_of(geometry_only()).sentence


def test_a_bar_is_the_number_that_decides_and_agrees_with_its_word() -> None:
    for result in RESULTS.values():
        for row in brief_of(result).rows:
            if row.bar is None:
                continue
            assert 0 <= row.bar.low <= row.bar.value <= row.bar.high <= 1
            if row.finding == "strong":
                assert row.bar.low >= THRESHOLDS.strong_share
            if row.finding == "partial":
                assert row.bar.low > THRESHOLDS.partial_share
            if row.finding == "not detected":
                assert row.bar.high < THRESHOLDS.absent_probe


def test_the_bar_of_what_is_partly_ignored_is_the_number_that_kept_it_from_being_called_ignored() -> None:
    part = findings(("texture", "partial"))[0] | {"carried_share": stat(0.95, 0.03)}
    part["null_follow"] |= {"of_read": stat(0.5, 0.1)}
    row = brief_of(judged("pass", findings=[part])).rows[0]
    assert (row.word, row.bar.text) == ("partly ignored", "50\u00a0% [40, 60]")
    part["carried_share"] = stat(0.4, 0.1)
    assert brief_of(judged("pass", findings=[part])).rows[0].bar.text == "40\u00a0% [30, 50]"


def test_what_the_logits_see_as_well_has_a_short_bar_however_much_of_the_reading_vanishes() -> None:
    row = brief_of(judged("pass", findings=findings(("size", "redundant")))).rows[0]
    assert row.word == "seen by the logits"
    assert row.bar is not None
    assert row.bar.text == "3\u00a0% [1, 5]"


def test_a_share_beyond_all_is_a_word() -> None:
    over = findings(("colour", "strong"))
    over[0]["carried_share"] = stat(1.01, 0.02)
    text = every_text(brief_of(judged("fail", (GATE.format("colour"), "fail"), findings=over)))
    assert "All [99, 100\\xa0%] of the reading of colour" in text
    assert not re.search(r"10[1-9]\s*%|[-\u2212]\d+\s*%", text.replace("\\xa0", " "))


def test_rows_stand_worst_first_and_the_rest_is_counted() -> None:
    many = findings(*((f"s{i}", "not detected") for i in range(5)), ("a", "partial"), ("b", "strong"), ("c", "strong"))
    brief = brief_of(judged("pass", findings=many))
    assert [row.word for row in brief.rows[:3]] == ["ignored", "ignored", "partly ignored"]
    assert brief.more == "2 more: little found"
    several = brief_of(judged("pass", findings=[*many, *findings(*((f"d{i}", "redundant") for i in range(4)))]))
    assert several.more == "6 more: 1 seen by the logits; 5 little found"


def test_what_cannot_be_told_is_one_line_with_its_reasons() -> None:
    brief = brief_of(RESULTS["nothing told"])
    assert len(brief.untold) == 1
    assert brief.untold_line == (
        "Cannot be told for 24 groups \u2013 g0, g1, g2 and 21 more: the intervals are too wide (more images)."
    )
    told = findings(("x", "unstable"), ("y", "cannot tell"))
    told[1]["rule"] = "the vision-language model does not read this group reliably: 0.2 [0.1, 0.3]"
    brief = brief_of(judged("inconclusive", findings=told))
    line = brief.untold_line
    assert brief.untold_counts(1).endswith(
        "2 groups \u2013 1: it changes with the half of the images that is looked at "
        "(more images); 1 for other reasons."
    )
    assert "x: it changes with the half" in line
    assert "y: the language model does not read it reliably (another --vlm)" in line


def test_the_picture_is_an_equivalent_that_keeps_the_class() -> None:
    brief = brief_of(full())
    assert brief.picture is not None
    assert brief.picture.kind == "refined"
    assert brief.picture.same_logits
    assert brief.picture.title == "Same logits, another colour"
    assert brief.picture.caption.startswith("Red becomes blue.")
    assert brief_of(changed(full(), pictures=[])).picture is None  # what was retrieved has logits of its own


def test_a_language_model_at_chance_is_red() -> None:
    at_chance = findings(("class", "cannot tell"))
    at_chance[0] |= {
        "kind": "class",
        "own_value": "labels",
        "readability": {"score": stat(-0.03, 0.05), "basis": "labels"},
    }
    at_chance += findings(("colour", "strong"), ("size", "redundant"))
    brief = brief_of(judged("inconclusive", findings=at_chance))
    mark = brief.marks[0]
    assert mark.state == "red"
    # Nothing that rests on it is stated flatly.
    assert brief.certainty.startswith("If the language model is right, ")
    assert brief.rows[0].word == "ignored?"
    assert brief.rows[0].sentence.startswith("If the language model is right: ")
    assert brief.rows[1].word == "seen by the logits?"
    assert "chance 25" in mark.text
    assert "no better than chance" in mark.doubtful


def test_a_finding_beyond_the_class_and_a_nonlinear_one_show_their_own_numbers() -> None:
    beyond, other = findings(("hat", "strong"), ("ring", "partial"))
    probe = {
        "features": stat(0.9, 0.02),
        "principal": stat(0.1, 0.02),
        "null": stat(0.7, 0.02),
        "gain": stat(0.9, 0.02),
    }
    beyond |= {
        "rule": "the class alone tells the value (0.80 [0.78, 0.82] of what is possible); beyond it ...",
        "carried_share": stat(0.2, 0.02),
        "beyond_class": {
            "class_knows": stat(0.8, 0.02),
            "units": 300,
            "carried_share": stat(0.92, 0.02),
            "null_follow": stat(0.7, 0.02),
            "probe": probe,
        },
    }
    other |= {"finding": "nonlinear", "quadratic_probe": probe, "carried_share": None}
    rows = {row.name: row for row in brief_of(judged("pass", findings=[beyond, other])).rows}
    assert rows["hat"].bar.text == "92\u00a0% [90, 94]"
    assert rows["ring"].bar.text == "70\u00a0% [68, 72]"
    assert rows["ring"].word == "ignored, nonlinearly"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("250 images of different scenes were audited, fewer than 300", "too few images (more images)"),
        ("600 images of 200 scenes are too few, at least 300 scenes are needed; by the numbers", "too few images"),
        ("cannot tell beyond the class: ...", "it goes with the class too closely"),
        ("only 2 of 20 values are read in enough images, and no label states them", "too few of its values are read"),
        ("the language model does not read these images: it names 3%", "does not read these images (another --vlm)"),
        ("nothing was found, but of a code planted in the null part", "too few images to rule it out"),
    ],
)
def test_every_reason_of_not_telling_has_words(rule: str, expected: str) -> None:
    told = findings(("x", "cannot tell"))
    told[0]["rule"] = rule
    assert expected in brief_of(judged("inconclusive", findings=told)).untold_line


def test_a_waived_gate_is_no_assurance() -> None:
    brief = brief_of(judged("pass", (GATE.format("colour"), "waived"), (GATE.format("size"), "pass")))
    assert "what the head ignores hardly shows size" in brief.sentence
    assert "does not ignore colour" not in brief.sentence
    assert brief.notes[0].startswith("Waived, it fails all the same: colour.")


def test_a_pass_does_not_hide_what_was_not_checked() -> None:
    unlabelled = judged(
        "pass",
        (GATE.format("size"), "pass"),
        data=lambda d: d | {"labels": "predicted", "accuracy": None, "audit": d["audit"] | {"source": "photos"}},
        findings=findings(("size", "redundant")),
        encoder=lambda e: e | {"name": "a/clip", "class_reading": None},
    )
    brief = brief_of(unlabelled)
    assert "In doubt: language model not checked: no labels" in brief.sentence
    assert any("--labels" in step.command for step in brief.steps)


def test_a_reader_of_generated_shapes_is_no_reader_of_photographs() -> None:
    photos = judged(
        "no gates set",
        data=lambda d: d | {"audit": d["audit"] | {"source": "photos"}},
        encoder=lambda e: e | {"name": "builtin:shapes"},
    )
    brief = brief_of(photos)
    assert brief.marks[0].state == "red"
    assert any("--vlm" in step.command and "builtin:shapes" not in step.command for step in brief.steps)


def test_what_decided_stands_first_and_is_as_grave_as_the_verdict() -> None:
    told = findings(("hat", "strong"), ("class", "redundant"))
    lost = brief_of(judged("fail", ("data.class_gain < 0.2", "fail"), findings=told))
    assert [(row.group, row.style) for row in lost.rows] == [("class", "bad"), ("hat", "bad")]
    assert lost.rows[0].word == "lost in part"  # in red, and not "seen"
    assert "refit" in lost.steps[0].command


def compared(order=(0, 1), verdicts=("pass", "fail"), apart=(("colour", "not detected", "strong"),)) -> Comparison:
    names = ("clean", "leaky")
    models = [
        ComparedModel(
            name=name, sha256="0" * 64, source=name, null_dim=56, feature_dim=64, null_energy_share=None, scores={},
            effect_same_norm=None, effect_same_dim=None, ranks={}, verdict=verdict,
            findings={group: found[i] for group, *found in apart},
        )
        for i, (name, verdict) in enumerate(zip(names, verdicts, strict=True))
    ]  # fmt: skip
    return Comparison(
        images_digest="0" * 64, images=800, encoder="e", models=models, order=list(order),
        findings_apart=[ComparedFinding(group=group, findings=found) for group, *found in apart],
        findings_alike=["class"], gates_apart=[], gates_alike=1, ranking_note="a note", differences=[], warnings=[],
    )  # fmt: skip


def test_a_comparison_says_which_model_stands_first_and_why() -> None:
    answer = compared_answer(compared())
    assert answer.word == "clean stands first"
    assert answer.sentence == ("clean passes its gates and leaky fails its gates; leaky ignores colour, unlike clean.")
    assert "Found alike: the class itself." in answer.ground
    other = compared_answer(compared((1, 0), ("pass", "pass"), (("size", "partial", "redundant"),)))
    assert (other.word, other.sentence) == ("leaky stands first", "clean ignores part of size, unlike leaky.")


def test_a_comparison_of_what_is_alike_puts_no_model_first() -> None:
    alike = compared_answer(compared(verdicts=("pass", "pass"), apart=()))
    assert (alike.word, alike.clear) == ("Neither stands first", False)
    each = (("size", "partial", "redundant"), ("colour", "redundant", "partial"))
    assert compared_answer(compared(verdicts=("fail", "fail"), apart=each)).word == "Neither stands first"


KINDS = (
    "strong", "partial", "nonlinear", "redundant", "not detected", "not applicable", "unstable", "cannot tell",
)  # fmt: skip
REASONS = (
    "no rule is met: carried share 0.4 [0.0, 0.8]",
    "the vision-language model does not read this group reliably: 0.2 [0.1, 0.3]",
    "too few images show the values: they count as 30",
)


def thirty() -> AuditResult:
    """30 groups with findings of every kind, the numbers between the limits and on either side of 0 and 1."""
    found = findings(*((f"group {i}", KINDS[i % len(KINDS)]) for i in range(30)))
    for i, f in enumerate(found):
        if f["finding"] == "nonlinear":
            f["quadratic_probe"] = f["probe"] | {"null": stat(0.3 + i / 50, 0.05)}
        if f["finding"] == "strong":
            f["carried_share"] = stat(0.75 + i / 60, 0.1)
        if f["finding"] == "partial":
            f["carried_share"] = stat(0.25 + i / 50, 0.08)
            f["null_follow"] = f["null_follow"] | {"of_read": stat(0.3 + i / 60, 0.1)}
        if f["finding"] == "redundant":
            f["carried_share"] = stat(0.9, 0.1)
            f["probe"] = f["probe"] | {"gain": stat(0.25 if i > 20 else i / 200, 0.03)}
        if f["finding"] == "not detected":
            f["probe"] = f["probe"] | {"null": stat(-0.03 + i / 400, 0.05)}
        if f["finding"] == "cannot tell":
            f["rule"] = REASONS[i % len(REASONS)]
    return judged("no gates set", findings=found)


def test_thirty_groups_are_six_rows_a_count_and_the_reasons() -> None:
    result = thirty()
    brief = brief_of(result)
    assert len(brief.rows) == MAX_ROWS
    assert len(brief.rows) + len(brief.rest) + sum(len(u.groups) for u in brief.untold) == 30
    assert [row.style for row in brief.rows] == ["bad"] * 4 + ["warn"] * 2
    assert brief.more == (
        "18 more: 2 partly ignored; 4 ignored, nonlinearly; 1 mostly seen; 3 seen by the logits; 4 little found; "
        "4 nothing is ignored"
    )
    assert len({(u.reason, u.help) for u in brief.untold}) == len(brief.untold) <= 1 + len(REASONS)


def test_badge_and_bar_agree_for_every_kind_of_finding() -> None:
    """Not the six shown alone: the bar is within the limits that its word means."""
    shown = [row_of(f) for f in thirty().findings if says_something(f)]
    assert {r.finding for r in shown} == set(KINDS) - {"unstable", "cannot tell"}
    for r in shown:
        if r.finding == "not applicable":
            continue
        assert r.bar is not None, r
        assert 0 <= r.bar.low <= r.bar.value <= r.bar.high <= 1
        if r.style == "bad":
            assert r.bar.low >= THRESHOLDS.strong_share, r
        elif r.word == "mostly ignored":
            assert r.bar.value >= 0.75, r
        elif r.word == "partly ignored":
            assert THRESHOLDS.partial_share < r.bar.low, r
            assert r.bar.value < 0.75, r
        elif r.word == "ignored, nonlinearly":
            assert r.bar.low > THRESHOLDS.nonlinear_probe, r
        elif r.word == "mostly seen":
            assert THRESHOLDS.redundant_gain < r.bar.value < 0.5, r
        elif r.word == "seen by the logits":
            assert r.bar.value <= THRESHOLDS.redundant_gain, r
        elif r.word == "little found":
            assert r.bar.high < THRESHOLDS.absent_probe, r
        else:
            raise AssertionError(f"a word without a rule: {r.word}")
