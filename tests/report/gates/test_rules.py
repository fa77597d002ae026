"""Whatever is written as a gate ends in a verdict or in one error that points at the place."""

import random

import pytest
from click.testing import CliRunner
from report_factory import full

from singaudit.cli.main import main
from singaudit.errors import ConfigError
from singaudit.report.gates.judge import judge_gates
from singaudit.report.gates.names import Known, check_rules
from singaudit.report.gates.rules import parse_rules
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic

KNOWN = Known(("dog", "cat"), (("colour", "red"), ("weather", "snow"), ("ground", "snow")), ("class", "colour"))
GOOD = (
    "scores.attribute_score_deg < 3",
    "colour is kept = finding[colour] not in (strong, partial)",
    "translator.r2.low > 0.1",
    'class["dog"].attribute_score_deg <= -4e-1',
    "concept[weather: snow].change in (kept, 'lost')",
    "control[norm-matched].score[scores.image_score_deg].effect_size >= 3",
    "finding[class].stable in (true)",
    "geometry.null_dim < 100",
    "default",
)
PIECES = (
    *(piece for rule in GOOD for piece in rule.replace(".", " . ").replace("[", " [ ").split()),
    "[", "]", "(", ")", "'", '"', "\\", "=", "==", "<", "<=", "not", "in", ",", ".", "..", "nan", "inf", "1e999",
    "9" * 400, "-", "\n", "\x00", "\u202e", "≤", "é", "🐕", " " * 30, "class[", "finding[x].", "_", "__class__",
    "model_fields", "0x1",
)  # fmt: skip


def written(seed):
    """A rule as nobody would write it: pieces at random, or a good one with characters changed."""
    draw = random.Random(seed)
    if seed % 2:
        return draw.choice(("", " ")).join(draw.choices(PIECES, k=draw.randrange(1, 14)))
    text = list(draw.choice(GOOD))
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(text) + 1)
        text[at : at + draw.randrange(3)] = draw.choices([*"[]()'\"=<>.,x 0\\", *PIECES], k=draw.randrange(3))
    return "".join(text)


def outcome(text, result):
    """What becomes of a rule: its statuses, or the error."""
    try:
        rules = parse_rules((text,))
        check_rules(rules, KNOWN)
    except ConfigError as error:
        return error
    return [gate.status for on in ("upper", "point", "lower") for gate in judge_gates(rules, result, on)]


def test_any_text_is_judged_or_pointed_at():
    result, read = full(), 0
    for seed in range(6000):
        text = written(seed)
        found = outcome(text, result)
        if isinstance(found, ConfigError):
            shown, at = found.place
            assert shown in text or text.startswith(shown), text
            assert 0 <= at <= len(shown), text
            assert found.hint, text
        else:
            assert found, text
            assert set(found) <= {"pass", "fail", "inconclusive"}, text
            read += 1
    assert 200 < read < 5000  # both sides were seen


def test_nothing_passes_where_nothing_was_measured_or_is_no_number():
    whole = full()
    bare = AuditResult(model=whole.model, geometry=whole.geometry, verdict=whole.verdict, reproduce=whole.reproduce)
    nan = Statistic.model_construct(value=float("nan"), low=float("nan"), high=float("nan"), n=900)
    broken = whole.model_copy(update={"scores": whole.scores.model_copy(update={"attribute_score_deg": nan})})
    for rule in ("scores.attribute_score_deg < 1e300", "scores.attribute_score_deg > -1e300"):
        assert set(outcome(rule, bare)) == set(outcome(rule, broken)) == {"inconclusive"}
        assert set(outcome(rule.replace("_deg ", "_deg.high "), broken)) == {"inconclusive"}


def test_a_long_rule_is_refused_before_it_is_searched():
    for text in (" " * 300_000, "a " * 200_000, "x" * 1001):
        found = outcome(text, full())
        assert isinstance(found, ConfigError)
        assert len(str(found)) < 400


@pytest.mark.parametrize("name", ["verdict.status in (pass)", "gates[x].status in (pass)"])
def test_a_gate_cannot_ask_for_what_gates_decide(name):
    assert "follows from gates" in str(outcome(name, full()))


@pytest.mark.parametrize(
    ("rule", "hint"),
    [
        ("accuracy > 0.9", "data.accuracy"),
        ("scores.attribute_score_deg == 3", "compared by <"),
        ("finding[colour] != strong", "not in (...)"),
        ("geometry.null_energy_share < 50%", "no unit"),
        ("finding.colour not in (strong)", "finding[colour]"),
        ("finding[colour] not in strong", "(strong, partial)"),
        ("Default", "'default'"),
    ],
)
def test_what_people_write_first_is_answered_by_what_to_write(rule, hint):
    assert hint in outcome(rule, full()).hint


@pytest.mark.parametrize(
    "gates",
    [
        'gates = "scores.attribute_score_deg <"', "gates = 3", "gates = true", "gates = [1]", "gates = [[]]",
        "[tool.singaudit.gates]\nx = 3", '[tool.singaudit.gates]\nx = "y = z = 1"', "[tool.singaudit.gates.x]\ny = 'z'",
        "[tool.singaudit.gates]\n'' = 'default'", "[tool.singaudit.gates]\nx = ''",
        "[tool.singaudit.gates]\nx = 'scores.image_score_deg < 3 and 4'",
        *(f"[tool.singaudit.gates]\nx = {written(seed)!r}" for seed in (3, 5, 8, 13)),
    ],
)  # fmt: skip
def test_gates_of_a_configuration_file_are_refused_in_one_message(gates, tmp_path, monkeypatch):
    # Rules are read before the model is opened: that the model does not exist is never reached.
    (tmp_path / "pyproject.toml").write_text(gates if gates.startswith("[") else f"[tool.singaudit]\n{gates}")
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(main, ["run", "builtin:clean"])
    assert ran.exit_code == 2, ran.output
    assert "Traceback" not in ran.output + ran.stderr
    assert "gate" in ran.stderr or "expected" in ran.stderr or "toml" in ran.stderr
    assert not (tmp_path / "singaudit-out").exists()
