"""Gates: parsed exactly, checked before any work, judged on the bad end, and never passed by default."""

import pytest
from report_factory import full

from singaudit.errors import ConfigError
from singaudit.report.gates.judge import judge_gates
from singaudit.report.gates.names import Known, check_rules
from singaudit.report.gates.policy import class_concepts, policy_rules, selector
from singaudit.report.gates.rules import parse_rule, parse_rules
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic

KNOWN = Known(
    ("dog", "cat", 'n01, [a] "b"', "x ] y"),
    (("colour", "red"), ("weather", "snow"), ("ground", "snow")),
    ("class", "colour"),
)


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
    assert judge_gates([parse_rule(rule)], score(result, *interval), "upper")[0].status == status


def test_gate_on_point_and_lower(result):
    found = score(result, 2.9, 2.5, 3.3)
    rule = parse_rule("scores.attribute_score_deg < 3")
    assert [judge_gates([rule], found, on)[0].status for on in ("upper", "point", "lower")] == [
        "inconclusive",
        "pass",
        "pass",
    ]


def test_what_was_not_measured_never_passes(result):
    bare = AuditResult(model=result.model, geometry=result.geometry, verdict=result.verdict, reproduce=result.reproduce)
    for rule in ("scores.attribute_score_deg < 1e9", "finding[class] not in (strong)", "class[x].images >= 0"):
        assert judge_gates([parse_rule(rule)], bare, "upper")[0].status == "inconclusive"


@pytest.mark.parametrize(
    ("finding", "status"),
    [("strong", "fail"), ("partial", "fail"), ("redundant", "pass"), ("not detected", "pass"),
     ("cannot tell", "inconclusive"), ("unstable", "inconclusive"), ("not applicable", "inconclusive")],
)  # fmt: skip
def test_findings_that_cannot_be_told_do_not_pass(result, finding, status):
    first = result.findings[0].model_copy(update={"finding": finding, "group": "colour"})
    found = result.model_copy(update={"findings": [first]})
    rule = parse_rule("finding[colour] not in (strong, partial)")
    assert judge_gates([rule], found, "upper")[0].status == status


def test_exact_numbers_and_membership(result):
    found = judge_gates(parse_rules(("geometry.null_dim < 100000", "geometry.null_dim<0")), result, "upper")
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
        check_rules(parse_rules((text,)), KNOWN)


def test_good_rules_are_accepted():
    rules = parse_rules((
        "default", "scores.ratio > 1", "class[dog].attribute_score_deg < 4", "concept[red].absolute_deg < 4",
        "finding[colour].carried_share < 0.5", "finding[colour].probe.null.high < 0.5", "translator.r2.low > 0.1",
        "scores.mean_removal.image_score_deg < 50", "geometry.near_null.dim < 10", "data.accuracy > 0.5",
        "finding[colour].null_follow < 0.5", "finding[colour].null_follow.normalised < 0.5",
    ))  # fmt: skip
    check_rules(rules, KNOWN)


def test_class_names_may_hold_anything_but_brackets(result):
    check_rules(parse_rules(("class[<b>a.b</b> x].images > 0",)), Known(("<b>a.b</b> x",), (), ()))


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
        check_rules(parse_rules((text,)), KNOWN)


def test_an_interval_of_a_handful_of_images_decides_nothing(result):
    few = Statistic(value=1.0, low=1.0, high=1.0, n=1)
    scores = result.scores.model_copy(update={"attribute_score_deg": few})
    found = judge_gates(
        [parse_rule("scores.attribute_score_deg < 3")], result.model_copy(update={"scores": scores}), "upper"
    )
    assert found[0].status == "inconclusive"


@pytest.mark.parametrize(
    "text",
    [
        'class[n01, [a] "b"].images > 0', 'class["n01, [a] \\"b\\""].images > 0', "class['x ] y'].images > 0",
        "class[ dog ].images > 0", "concept[ground: snow].absolute_deg < 3", "classes[dog].images > 0",
        "finding[colour].stable in (true)", 'finding[colour] in ("not detected", redundant)',
        "control[norm-matched random subspaces].score[scores.ratio].effect_size < 3",
        "reproduce.versions[torch] not in (2.0)", "certificate.max_logit_difference < 1e-3",
        "colour is kept = finding[colour] not in (strong)", "a.b-c = default",
    ],
)  # fmt: skip
def test_awkward_names_controls_and_named_gates_are_accepted(text):
    check_rules(parse_rules((text,)), KNOWN)


@pytest.mark.parametrize(
    ("text", "pointed"),
    [
        ("scores.ratio < abc", "abc"),
        ("scores.ratio ~ 3", "~ 3"),
        ("finding[colour not in (a)", "[colour"),
        ("finding['colour] < 3", "'colour"),
        ("finding[colour] in (strong", ""),
        ("finding[colour] in (strong partial) x", "x"),
        ("scores..ratio < 1", ".ratio"),
        ("scores.ratio < 1 and 2", "and 2"),
        ("fine = scores.ratoi < 1", "ratoi"),
        ("class[dgo].images > 1", "class[dgo]"),
        ("class[dog].imges > 1", "imges"),
        ("concept[snow].absolute_deg < 3", "concept[snow]"),
        ("controls.draws > 3", "controls"),
        ("model.class_names[dog] in (x)", "class_names"),
    ],
)
def test_a_wrong_rule_is_pointed_at_where_it_is_wrong(text, pointed):
    with pytest.raises(ConfigError) as info:
        check_rules(parse_rules((text,)), KNOWN)
    line, at = info.value.place
    assert line[at:].startswith(pointed)
    assert at == len(line) if pointed == "" else True


def test_a_concept_of_two_groups_is_told_apart(result):
    with pytest.raises(ConfigError, match="ambiguous") as info:
        check_rules(parse_rules(("concept[snow].absolute_deg < 3",)), KNOWN)
    assert "concept[weather: snow] or concept[ground: snow]" in info.value.hint


def test_controls_are_gated_like_scores(result):
    rule = "control[norm-matched random subspaces].score[scores.image_score_deg].percentile < 101"
    assert judge_gates(parse_rules((rule,)), result, "upper")[0].status == "pass"
    missing = "control[shuffled].score[scores.image_score_deg].percentile < 101"
    assert judge_gates(parse_rules((missing,)), result, "upper")[0].status == "inconclusive"


def test_what_is_no_number_never_passes(result):
    broken = Statistic.model_construct(value=float("nan"), low=float("nan"), high=float("nan"), n=500)
    found = result.model_copy(update={"scores": result.scores.model_copy(update={"attribute_score_deg": broken})})
    for text in ("scores.attribute_score_deg < 3", "scores.attribute_score_deg.value < 3"):
        for gate_on in ("upper", "point", "lower"):
            assert judge_gates([parse_rule(text)], found, gate_on)[0].status != "pass"


def test_one_end_of_a_handful_of_images_decides_nothing_either(result):
    few = Statistic(value=1.0, low=1.0, high=1.0, n=2)
    scores = result.scores.model_copy(update={"attribute_score_deg": few})
    found = result.model_copy(update={"scores": scores})
    assert judge_gates([parse_rule("scores.attribute_score_deg.high < 3")], found, "upper")[0].status == "inconclusive"
    assert judge_gates([parse_rule("scores.attribute_score_deg.n > 1")], found, "upper")[0].status == "pass"


def test_names_stand_in_the_result(result):
    named, *_ = judge_gates(parse_rules(("mine = geometry.null_dim < 1e9",)), result, "upper")
    assert (named.name, named.rule) == ("mine", "geometry.null_dim < 1e9")
    assert [g.name for g in judge_gates(parse_rules(("default",)), result, "upper")] == [
        "class meaning",
        "class knowledge",
        "translator readable",
        "shadow certificate",
    ]


def test_a_policy_is_gates_over_groups_and_concepts_of_all_images_or_of_a_class():
    policy = {"*": ("colour", "weather: snow"), "x ] y": ("colour", "red")}
    rules = policy_rules(policy, KNOWN)
    assert [rule.text for rule in rules] == [
        "finding[colour] not in (strong, partial)",
        "concept[weather: snow].change not in (lost)",
        'class["x ] y"].finding[colour] not in (strong, partial)',
        'class["x ] y"].concept[red].change not in (lost)',
    ]
    check_rules(rules, KNOWN)
    assert class_concepts(rules, KNOWN) == [(3, 0)]
    with pytest.raises(ConfigError, match="dgo") as info:
        policy_rules({"dgo": ("colour",)}, KNOWN)
    assert "'dog'" in info.value.hint
    with pytest.raises(ConfigError, match="wheel"):
        check_rules(policy_rules({"dog": ("wheel",)}, KNOWN), KNOWN)


@pytest.mark.parametrize("name", ["plain, with (words)", "a [b]", '"quoted"', "back\\slash ]", "'", " padded "])
def test_any_name_can_be_selected(name):
    known = Known((name,), (), ())
    check_rules(parse_rules((f"class[{selector(name)}].images > 0",)), known)


@pytest.mark.parametrize(
    ("change", "status"), [("lost", "fail"), ("gained", "pass"), ("none", "pass"), ("cannot tell", "inconclusive")]
)
def test_a_concept_that_must_not_be_lost(result, change, status):
    concept = result.concepts[0].model_copy(update={"change": change})
    found = result.model_copy(update={"concepts": [concept]})
    rule = parse_rule(f"concept[{concept.name}].change not in (lost)")
    assert judge_gates([rule], found, "upper")[0].status == status
