"""Planted worlds hold what they say, the table counts right, and the command writes it all or nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from singaudit.cli.main import main
from singaudit.demo.calibration import planted, run
from singaudit.demo.calibration.linear import linear_world
from singaudit.demo.calibration.planted import _erase, plan, train
from singaudit.demo.calibration.pool import make_pool
from singaudit.demo.calibration.roles import LEAKS, GroupTest
from singaudit.demo.calibration.table import markdown, summary, wrong


@pytest.fixture(scope="module")
def pool():
    """A small pool, and necks trained on fewer images than in a calibration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "_TRAINING", 2400)
        yield make_pool(4000, lambda done, total: None)


def nearest_mean(rows, values, train):
    """Accuracy of the simplest reader there is, on the rows it did not see: no part of the audit."""
    shown = np.unique(values)
    means = np.stack([rows[train & (values == v)].mean(axis=0) for v in shown])
    inverse = np.linalg.inv(np.cov(rows[train].T) + 1e-3 * np.eye(rows.shape[1]))
    distance = [np.einsum("ij,jk,ik->i", rows - m, inverse, rows - m) for m in means]
    right = shown[np.argmin(distance, axis=0)] == values
    chance = 1 / len(shown)
    return (right[~train].mean() - chance) / (1 - chance)


def test_erased_concepts_leave_no_linear_trace_and_others_stay():
    rng = np.random.default_rng(0)
    one_hot = np.eye(3)[rng.integers(3, size=900)]
    other = rng.normal(size=900)
    rows = rng.normal(size=(900, 6)) + one_hot @ rng.normal(size=(3, 6)) + np.outer(other, rng.normal(size=6))
    left = _erase(rows, 900, one_hot)
    centred = one_hot - one_hot.mean(axis=0)
    assert np.abs((left - left.mean(axis=0)).T @ centred).max() < 1e-8 * len(rows)
    assert np.linalg.matrix_rank(left - left.mean(axis=0)) == 4
    assert np.abs(np.corrcoef(left.T, other)[-1, :-1]).max() > 0.3


def test_trained_models_hold_attributes_where_their_plan_says(pool):
    what = plan(0, 0)
    world = train(pool, what, 100, 1500)
    features, space = world.subject.probe[0].astype(np.float64), world.subject.space
    rows = {h: i for i, h in enumerate(map(bytes, pool.embeddings))}
    sample = [rows[bytes(z)] for z in world.subject.probe[1]]
    half = np.arange(len(sample)) % 2 == 0
    seen = features @ np.linalg.svd(space.principal_part(np.eye(space.feature_dim)))[0][:, : space.rank]
    null = features @ np.linalg.svd(space.null_part(np.eye(space.feature_dim)))[0][:, : space.null_dim]
    for name, role in what.roles.items():
        values = pool.truth[name][sample]
        in_null, in_seen = (nearest_mean(part, values, half) for part in (null, seen))
        assert (in_null > 0.35) == (role in ("ignored", "half", "redundant")), (name, role, in_null)
        if role in ("absent", "ignored"):
            assert in_seen < 0.15, (name, role, in_seen)
        if role in ("used", "redundant"):
            assert in_seen > 0.4, (name, role, in_seen)


def test_worlds_are_the_same_every_time_and_independent_of_each_other(pool):
    first, again, other = (train(pool, plan(i, 3), 100, 1200) for i in (1, 1, 2))
    np.testing.assert_array_equal(first.subject.features, again.subject.features)
    assert first.subject.sha256 == again.subject.sha256
    assert first.roles != other.roles
    a, b = linear_world(4, 0, 100, 1000), linear_world(4, 0, 100, 1000)
    np.testing.assert_array_equal(a.subject.features, b.subject.features)


def test_every_role_occurs_and_half_of_the_worlds_is_held_out():
    plans = [plan(i, 0) for i in range(run.FULL.models)]
    roles = [role for p in plans for role in p.roles.values()]
    assert set(roles) == {"absent", "used", "redundant", "correlated", "ignored", "half"}
    planted = sum(role in LEAKS for role in roles)
    assert planted >= 150
    # The class of every model is a test of its own, of what the head uses.
    assert len(roles) - planted + len(plans) >= 150


def test_a_linear_world_is_audited_to_its_planted_answer():
    tests = run.audit_world(linear_world(1, 0, 500, 4000))
    assert not [t for t in tests if wrong(t)]
    assert any(t.finding == "strong" for t in tests if t.role == "ignored")


def test_a_quick_look_has_a_world_of_every_setting_and_draws_no_image(monkeypatch):
    def draw(*arguments):
        raise AssertionError

    monkeypatch.setattr(run, "make_pool", draw)
    assert (run.QUICK.rows, run.QUICK.worlds) == (run.FULL.rows, 1)
    tiny = replace(run.QUICK, linear=1, images=90, translator_images=200, fewer=(), rows=())
    found = run.calibrate(tiny, 0, lambda *_: None)
    assert found["tests"]
    assert "0 models, 0 null and 0 planted tests" in markdown(found)


def a_test(role, finding, world="w"):
    return GroupTest(world, "images", True, 500, 4000, 60, "g", role, 1.0, finding, "")


def test_the_table_counts_false_alarms_and_misses():
    tests = [a_test("absent", "not detected")] * 97 + [a_test("used", "partial")] * 3
    tests += [a_test("ignored", "strong")] * 9 + [a_test("ignored", "redundant")] + [a_test("half", "partial", "v")] * 4
    found = summary(tests)
    assert (found["worlds"], found["null_tests"], found["planted_tests"]) == (2, 100, 14)
    assert (found["false_alarms"]["count"], found["false_alarms"]["value"]) == (3, 0.03)
    # Wilson's interval of 3 of 100, as published tables have it.
    assert found["false_alarms"]["low"] == pytest.approx(0.0103, abs=1e-4)
    assert found["false_alarms"]["high"] == pytest.approx(0.0845, abs=1e-4)
    assert found["ignored_found_strong"]["value"] == 0.9
    assert found["planted_called_harmless"]["count"] == 1
    assert summary([])["false_alarms"]["value"] is None


def test_the_command_writes_both_files_and_refuses_a_foreign_folder(tmp_path, monkeypatch, pool):
    from singaudit.cli.commands import calibrate as command

    tiny = run.Size(models=2, linear=2, pool=4000, images=200, translator_images=1200, fewer=((90, 1200),))
    monkeypatch.setitem(run._POOLS, 4000, pool)
    monkeypatch.setattr(command, "QUICK", tiny)
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["calibrate", "--quick", "-o", str(out), "--progress", "plain"])
    assert done.exit_code == 0, done.output
    assert "audit planted models" in done.stderr
    written = json.loads((out / "calibration.json").read_text())
    assert len(written["tests"]) == 2 * 6 + 2 * 7
    assert (out / "calibration.md").read_text() == markdown(written)
    assert "cannot tell" in done.stdout
    assert {t["finding"] for t in written["tests"] if t["images"] == 90} <= {"cannot tell"}
    (out / "mine.txt").write_text("x")
    refused = CliRunner().invoke(main, ["calibrate", "--quick", "-o", str(out)])
    assert refused.exit_code == 2
    assert "mine.txt" in refused.stderr
