"""The brief on the terminal: short, narrow, whole commands, and the way to the files."""

import logging
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from report_factory import HOSTILE, full, geometry_only

from singaudit.cli.ending import Ended
from singaudit.cli.outcome import Outcome
from singaudit.cli.summary import MAX_LINES, brief_lines, file_line, quiet_line
from singaudit.report.brief.make import brief_of
from singaudit.report.brief.model import Step

FILES = [Path("out") / name for name in ("run.json", "report.pdf", "report.html", "result.json", "pictures/000.png")]
RESULTS = {
    "full": full(),
    "pass": full(status="pass"),
    "hostile": full(HOSTILE),
    "geometry": geometry_only(),
    "many": full().model_copy(update={"findings": full().findings * 5, "warnings": ["x" * 400] * 9}),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_brief_takes_at_most_24_lines_of_80_columns(name: str) -> None:
    lines = [text for text, _ in brief_lines(brief_of(RESULTS[name]), RESULTS[name].warnings, FILES)]
    assert len(lines) <= MAX_LINES == 24
    assert all(len(line) <= 80 for line in lines), max(lines, key=len)
    assert "\x1b" not in "".join(lines)
    assert lines[-1].startswith("Report: out/report.html")


def test_a_command_over_several_lines_is_still_one_command() -> None:
    result = full(status="pass")
    brief = brief_of(result)
    text = "\n".join(line for line, _ in brief_lines(brief, (), ()))
    pasted = text.replace(" \\\n", " ")
    shown = [shlex.split(line) for line in pasted.splitlines() if line.strip().startswith("singaudit ")]
    assert shown
    assert shown == [shlex.split(step.command) for step in brief.steps[: len(shown)]]


def test_an_option_and_its_value_stay_on_one_line() -> None:
    brief = brief_of(full())
    for length in range(1, 60):
        command = f"singaudit run {'m' * length} --images photos --exit-zero --gate default --vlm builtin:shapes"
        lines = [line for line, _ in brief_lines(replace(brief, steps=(Step("Why.", command),), rows=()))]
        assert not any(line.removesuffix(" \\").endswith(("--images", "--gate", "--vlm")) for line in lines), lines


def test_steps_that_find_no_room_are_counted_and_placeholders_explained() -> None:
    brief = brief_of(full())
    plain = Step("Why.", "singaudit run m.onnx --gate default")
    filled = Step("More.", "singaudit run m.onnx --probe MORE_PHOTOS")
    for steps, told in (((plain,), False), ((filled,), True), ((plain, plain, filled), True)):
        text = [line for line, _ in brief_lines(replace(brief, steps=steps, rows=()), (), FILES)]
        shown = sum(line.startswith("→ ") for line in text)
        assert shown == len(steps)
        assert any("Words in capitals are yours" in line for line in text) == told
        assert not any("to do stand" in line for line in text)
    long = Step("Why.", "singaudit run m.onnx " + " ".join(f"--gate {'g' * 60}{i}" for i in range(6)))
    for steps, left in (
        ((plain, long, long), "2 more things to do stand"),
        ((plain, long), "1 more thing to do stands"),
    ):
        lines = [line for line, _ in brief_lines(replace(brief, steps=steps), ["x" * 200], FILES)]
        assert len(lines) <= MAX_LINES
        assert sum(line.startswith("→ ") for line in lines) == 1
        assert any(f"{left} in the report (report.html)." in line for line in lines), "\n".join(lines)
    assert any(
        line.strip() == "2 more things to do stand in the report."
        for line, _ in brief_lines(replace(brief, steps=(plain, long, long)), ["x" * 200], ())
    )


@pytest.mark.parametrize("name", RESULTS)
def test_every_step_is_shown_or_counted(name: str) -> None:
    brief = brief_of(RESULTS[name])
    text = [line for line, _ in brief_lines(brief, RESULTS[name].warnings, FILES)]
    counted = [int(line.split(" more thing")[0].split()[-1]) for line in text if " more thing" in line]
    assert sum(line.startswith("→ ") for line in text) + sum(counted) == len(brief.steps)


def test_no_line_of_a_command_is_too_long_wherever_its_words_end() -> None:
    brief = brief_of(full(status="pass"))
    for length in range(1, 90):
        command = f"singaudit run m.onnx --images {'p' * length} --labels LABELS.csv --gate default"
        lines = brief_lines(replace(brief, steps=(Step("Why.", command),)))
        longest = max((text for text, _ in lines), key=len)
        assert len(longest) <= 80 or "p" * 73 in longest, longest


def test_the_file_to_open_is_named_first() -> None:
    assert file_line(FILES) == "Report: out/report.html (beside it report.pdf, result.json)"
    assert file_line([]) == ""


def test_quiet_is_silent_about_the_cache_and_only_there() -> None:
    cache, report = logging.getLogger("singaudit.cache.shelf"), logging.getLogger("singaudit.report.formats.pdf")
    shown = []

    def look() -> None:
        with Outcome({"quiet": True}):
            shown.extend(logger.isEnabledFor(logging.WARNING) for logger in (cache, report))

    with pytest.raises(Ended):
        look()
    assert shown == [False, True]  # a PDF that is missing is no note
    assert cache.isEnabledFor(logging.WARNING)


def test_quiet_says_what_did_not_pass_and_nothing_else() -> None:
    assert quiet_line(full(status="pass")) == ""
    line = quiet_line(full())
    assert line.startswith("singaudit: fail: leaky.onnx: Do not ship as it is")
    assert "\n" not in line


@pytest.mark.parametrize("command", ["singaudit run m.onnx --gate '" + "n" * 4000 + "'", "singaudit run 'never closed"])
def test_a_command_that_is_too_long_or_broken_breaks_nothing(command: str) -> None:
    result = geometry_only()
    result = result.model_copy(update={"reproduce": result.reproduce.model_copy(update={"command": command})})
    text = " ".join(line.strip() for line, _ in brief_lines(brief_of(result), result.warnings, FILES))
    assert ("it stands in the report" in text) == ("n" * 4000 in command)
    assert "n" * 100 not in text
