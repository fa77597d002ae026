"""A head that ignores nothing: what its weights decide alone, and what stays undecided."""

import pytest
from report_factory import full, geometry_only

from singaudit.report.gates.rules import parse_rules
from singaudit.report.gates.verdict import decided

ASKED = "geometry.null_dim < 1"


def status(base, null_dim, *gates):
    result = base.model_copy(update={"geometry": base.geometry.model_copy(update={"null_dim": null_dim})})
    return decided(result, parse_rules(gates), "upper").verdict.status


@pytest.mark.parametrize("make", [geometry_only, full], ids=["without images", "with images"])
def test_weights_alone_decide_whether_anything_is_ignored(make):
    base = make()
    assert status(base, 0, ASKED) == "pass"
    assert status(base, 56, ASKED) == "fail"


def test_whatever_else_is_asked_of_a_head_without_null_space_stays_undecided():
    for gates in ((), (ASKED, "translator.r2.low > -10"), ("geometry.rank > 0",)):
        assert status(full(), 0, *gates) == "inconclusive"
