"""The last release beside this one: worse, same or better, by paired differences where there are rows."""

import json

import numpy as np
import pytest
from report_factory import full

from singaudit.config import make_config
from singaudit.errors import ConfigError, ReportError
from singaudit.metrics.findings import METHOD_VERSION
from singaudit.report.brief.make import brief_of
from singaudit.report.build.baseline import baseline_part
from singaudit.report.build.earlier import open_baseline, with_baseline
from singaudit.report.gates.judge import judge_gates
from singaudit.report.gates.names import Known, check_rules
from singaudit.report.gates.rules import parse_rules
from singaudit.report.result.audit import MethodPart
from singaudit.report.result.base import Statistic
from singaudit.report.result.checksum import checksum_of
from singaudit.report.result.store import canonical_json

N = 400
IDS = [f"{i:064x}" for i in range(N)]


def audit(values, findings=None):
    """A result whose |AS| has the mean and interval of ``values`` (n,), and its rows."""
    values = np.asarray(values, float)
    half = 1.96 * values.std(ddof=1) / np.sqrt(N)
    result = full(points=40)
    mean = float(values.mean())
    stat = Statistic(value=mean, low=mean - half, high=mean + half, n=N)
    scores = result.scores.model_copy(update={"attribute_score_deg": stat})
    found = [f.model_copy(update={"finding": (findings or {}).get(f.group, f.finding)}) for f in result.findings]
    rows = {"sha256": IDS, "attribute_score_deg": values.tolist()}
    return result.model_copy(update={"scores": scores, "findings": found}), rows


@pytest.fixture(scope="module")
def base():
    return np.abs(np.random.default_rng(0).normal(5, 3, N))


def part(now, before, rows=True):
    return baseline_part(now[0], now[1], before[0], before[1] if rows else None, "last")


def test_the_same_audit_is_the_same(base) -> None:
    found = part(audit(base), audit(base))
    score = found.scores.attribute_score_deg
    assert (score.change, score.paired, score.difference.value) == ("same", True, 0)
    assert {f.change for f in found.findings} == {"same", "cannot tell"}
    assert "nothing was found to be worse" in found.sentence


def test_a_change_that_intervals_hide_is_seen_image_by_image(base) -> None:
    now, before = audit(base + 0.15), audit(base)
    paired, apart = part(now, before), part(now, before, rows=False)
    assert (paired.scores.attribute_score_deg.change, paired.paired) == ("worse", True)
    assert (apart.scores.attribute_score_deg.paired, apart.paired) == (False, False)
    assert apart.scores.attribute_score_deg.change != "worse"
    assert "rows per image are missing" in apart.sentence
    assert part(before, now).scores.attribute_score_deg.change == "better"


def test_what_might_be_much_worse_is_no_pass(base) -> None:
    noise = np.random.default_rng(1).normal(0, 12, N)
    assert part(audit(np.abs(base + noise)), audit(base)).scores.attribute_score_deg.change in ("cannot tell", "worse")
    wide = part(audit(base), audit(np.roll(base, 7) * 1.0))  # other rows, the same mean
    assert wide.scores.attribute_score_deg.change == "same" or wide.scores.attribute_score_deg.difference.high > 0.5


def test_rows_of_another_audit_are_not_believed(base) -> None:
    before = audit(base)
    found = baseline_part(*audit(base), before[0], {**before[1], "attribute_score_deg": (base + 5).tolist()}, "last")
    assert not found.scores.attribute_score_deg.paired


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ("not detected", "strong", "cannot tell"),
        ("strong", "not detected", "better"),
        ("strong", "cannot tell", "cannot tell"),
        ("cannot tell", "strong", "cannot tell"),
        ("redundant", "not detected", "same"),
        ("strong", "strong", "same"),
    ],
)
def test_words_and_the_numbers_behind_them_are_read_together(base, before, now, change) -> None:
    found = part(audit(base, {"colour": now}), audit(base, {"colour": before}))
    assert next(f.change for f in found.findings if f.group == "colour") == change


def test_a_group_without_a_share_is_judged_by_its_word(base) -> None:
    now, before = audit(base, {"background": "strong"}), audit(base, {"background": "not detected"})
    assert next(f.change for f in part(now, before).findings if f.group == "background") == "worse"


@pytest.mark.parametrize("what", ["images", "encoder", "scores", "method"])
def test_a_baseline_that_says_nothing_is_refused_in_words(base, what) -> None:
    now, before = audit(base), audit(base)[0]
    if what == "images":
        images = before.data.audit.model_copy(update={"digest": "0" * 64})
        before = before.model_copy(update={"data": before.data.model_copy(update={"audit": images})})
    elif what == "encoder":
        before = before.model_copy(update={"encoder": before.encoder.model_copy(update={"revision": "other"})})
    elif what == "scores":
        before = before.model_copy(update={"scores": None})
    else:
        before = before.model_copy(update={"method": MethodPart(version=METHOD_VERSION - 1)})
    words = {
        "images": "other images",
        "encoder": "another vision-language model",
        "scores": "has none",
        "method": f"made by version {METHOD_VERSION - 1} and are not comparable",
    }
    with pytest.raises(ReportError, match=words[what]):
        baseline_part(*now, before, None, "last")


def test_the_brief_says_what_got_worse_and_how_it_was_judged(base) -> None:
    now = audit(base + 0.15)
    for rows, how in ((True, "judged image by image"), (False, "by intervals alone")):
        notes = brief_of(now[0].model_copy(update={"baseline": part(now, audit(base), rows)})).notes
        assert any(note.startswith("Against the last release: ") and how in note for note in notes)
    assert "attribute score went from" in notes[0] or "nothing was found to be worse" in notes[0]


def test_gates_over_the_baseline(base) -> None:
    now, before = audit(base + 0.15, {"background": "strong"}), audit(base, {"background": "not detected"})
    result = now[0].model_copy(update={"baseline": part(now, before)})
    texts = (
        "baseline.scores.attribute_score_deg not worse",
        "baseline.finding[background] not worse",
        "baseline.finding[colour] not worse",
        "baseline.scores.attribute_score_deg.difference < 0.5",
    )
    rules = parse_rules(texts)
    check_rules(rules, Known(("circle",), (), ("colour", "background")))
    found = judge_gates(rules, result, "upper")
    assert found[0].status == "fail"
    assert found[2].status in ("pass", "inconclusive")
    assert found[3].status == "pass"
    assert [g.status for g in judge_gates(rules, now[0], "upper")] == [
        "inconclusive"
    ] * 4  # without a baseline none passes
    with pytest.raises(ConfigError, match="purple"):
        check_rules(parse_rules(("baseline.finding[purple] not worse",)), Known((), (), ("colour",)))


def stored(tmp_path, result, **changes):
    """``result`` as a file of its own checksum, with ``changes`` to its keys."""
    plain = {**json.loads(canonical_json(result)), **changes}
    plain.pop("checksum")
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**plain, "checksum": checksum_of(plain)}))
    return path


def test_another_method_is_refused_before_any_work_and_an_older_schema_is_read(base, tmp_path) -> None:
    now, before = audit(base + 0.15), audit(base)
    other = stored(tmp_path, before[0], method={"version": METHOD_VERSION + 1})
    config = make_config(model="builtin:clean", images="shapes:400", baseline=str(other))
    with pytest.raises(ReportError, match=f"made by version {METHOD_VERSION + 1} and are not comparable"):
        open_baseline(config, [])
    stored(tmp_path, before[0], schema_version="1.0", no_longer_there=[1])
    found = with_baseline(*now, open_baseline(config, [])).baseline
    assert (found.paired, found.scores.attribute_score_deg.before.n) == (False, N)
    stored(tmp_path, before[0].model_copy(update={"scores": None}))
    with pytest.raises(ReportError, match="has none"):
        open_baseline(config, [])
    stored(tmp_path, before[0], schema_version="9.0")
    with pytest.raises(ReportError, match="this version reads"):
        open_baseline(config, [])
