"""Gates: parsed exactly, checked before any work, judged on the bad end, and never passed by default."""

import pytest
from report_factory import full

from singaudit.errors import ConfigError
from singaudit.report.gates import check_rules, judge, parse_rule, parse_rules
from singaudit.report.result import AuditResult, Statistic


@pytest.fixture(scope="module")
def result():
    return full()


def score(result, value, low, high):
    scores = result.scores.model_copy(update={"attribute_score_deg": Statistic(value=value, low=low, high=high, n=500)})
    return result.model_copy(update={"scores": scores})


@pytest.mark.parametrize(
    ("rule", "interval", "status"),
    [
        ("scores.attribute_score_deg < 3", (2.0, 1.5, 2.5), "pass"),
        ("scores.attribute_score_deg < 3", (2.9, 2.5, 3.0), "inconclusive"),
        ("scores.attribute_score_deg <= 3", (2.9, 2.5, 3.0), "pass"),
        ("scores.attribute_score_deg < 3", (3.5, 3.0, 4.0), "fail"),
        ("scores.attribute_score_deg > 3", (3.5, 3.1, 4.0), "pass"),
        ("scores.attribute_score_deg > 3", (3.5, 2.9, 4.0), "inconclusive"),
        ("scores.attribute_score_deg.low < 3", (3.5, 2.9, 4.0), "pass"),
        ("scores.attribute_score_deg.value < 3", (3.5, 2.9, 4.0), "fail"),
        ("scores.attribute_score_deg < -1e1", (3.5, 2.9, 4.0), "fail"),
    ],
)
def test_statistics_are_judged_on_the_intervals_bad_end(result, rule, interval, status):
    assert judge([parse_rule(rule)], score(result, *interval), "upper")[0].status == status


def test_gate_on_point_and_lower(result):
    found = score(result, 2.9, 2.5, 3.3)
    rule = parse_rule("scores.attribute_score_deg < 3")
    assert [judge([rule], found, on)[0].status for on in ("upper", "point", "lower")] == [
        "inconclusive",
        "pass",
        "pass",
    ]


def test_what_was_not_measured_never_passes(result):
    bare = AuditResult(model=result.model, geometry=result.geometry, verdict=result.verdict, reproduce=result.reproduce)
    for rule in ("scores.attribute_score_deg < 1e9", "finding[class] not in (strong)", "class[x].images >= 0"):
        assert judge([parse_rule(rule)], bare, "upper")[0].status == "inconclusive"


@pytest.mark.parametrize(
    ("finding", "status"),
    [("strong", "fail"), ("partial", "fail"), ("redundant", "pass"), ("not detected", "pass"),
     ("cannot tell", "inconclusive"), ("unstable", "inconclusive"), ("not applicable", "inconclusive")],
)  # fmt: skip
def test_findings_that_cannot_be_told_do_not_pass(result, finding, status):
    first = result.findings[0].model_copy(update={"finding": finding, "group": "colour"})
    found = result.model_copy(update={"findings": [first]})
    rule = parse_rule("finding[colour] not in (strong, partial)")
    assert judge([rule], found, "upper")[0].status == status


def test_exact_numbers_and_membership(result):
    found = judge(parse_rules(("geometry.null_dim < 100000", "geometry.null_dim<0")), result, "upper")
    assert [g.status for g in found] == ["pass", "fail"]


@pytest.mark.parametrize(
    "text",
    ["", "scores", "scores.x <", "< 3", "a < b", "a < nan", "a < 1 < 2", "finding[x] in ()", "a == 3", "a..b < 1",
     "finding[x not in (a)", "x" * 2000 + " < 1", "a < 1e999", "a < 1.2.3", "__class__.x < 1 or 1"],
)  # fmt: skip
def test_rules_that_cannot_be_read_are_refused(text):
    with pytest.raises(ConfigError, match="expected a gate"):
        parse_rule(text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("score.attribute_score_deg < 3", "no 'score'"),
        ("scores.attribute_score < 3", "no 'attribute_score'"),
        ("class[dgo].attribute_score_deg < 3", "no class 'dgo'"),
        ("finding[color] not in (strong)", "no finding 'color'"),
        ("scores[dog].ratio < 3", "only after"),
        ("class.images < 3", "with a name"),
        ("model.name < 3", "number or statistic"),
        ("scores < 3", "number or statistic"),
        ("scores.__class__ < 3", "__class__"),
    ],
)
def test_rules_that_name_nothing_are_refused_before_any_work(text, match):
    with pytest.raises(ConfigError, match=match):
        check_rules(parse_rules((text,)), ("dog", "cat"), ("red",), ("class", "colour"))


def test_good_rules_are_accepted():
    rules = parse_rules((
        "default", "scores.ratio > 1", "class[dog].attribute_score_deg < 4", "concept[red].absolute_deg < 4",
        "finding[colour].carried_share < 0.5", "finding[colour].probe.null.high < 0.5", "translator.r2.low > 0.1",
        "scores.mean_removal.image_score_deg < 50", "geometry.near_null.dim < 10", "data.accuracy > 0.5",
        "finding[colour].null_follow < 0.5", "finding[colour].null_follow.normalised < 0.5",
    ))  # fmt: skip
    check_rules(rules, ("dog", "cat"), ("red",), ("class", "colour"))


def test_class_names_may_hold_anything_but_brackets(result):
    check_rules(parse_rules(("class[<b>a.b</b> x].images > 0",)), ("<b>a.b</b> x",), (), ())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("finding[class] not in (strnog)", "strnog"),
        ("finding[class].finding not in (srong)", "srong"),
        ("certificate.status not in (faild)", "faild"),
        ("finding[class].probe not in (strong)", "finding or status"),
    ],
)
def test_words_that_are_never_found_are_refused_lest_not_in_always_passes(text, match):
    with pytest.raises(ConfigError, match=match):
        check_rules(parse_rules((text,)), ("dog", "cat"), (), ("class",))


def test_an_interval_of_a_handful_of_images_decides_nothing(result):
    few = Statistic(value=1.0, low=1.0, high=1.0, n=1)
    scores = result.scores.model_copy(update={"attribute_score_deg": few})
    found = judge([parse_rule("scores.attribute_score_deg < 3")], result.model_copy(update={"scores": scores}), "upper")
    assert found[0].status == "inconclusive"
