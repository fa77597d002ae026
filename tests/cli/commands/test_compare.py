"""singaudit compare as people run it: on results, on models, and on what cannot be compared."""

import json
import shutil

import pytest
from click.testing import CliRunner
from report_factory import full, geometry_only

from singaudit.cli.main import main
from singaudit.report.formats.writer import write_report
from singaudit.report.result.audit import MethodPart
from singaudit.report.result.checksum import checksum_of
from singaudit.report.result.findings import GatePart

pytestmark = pytest.mark.usefixtures("kept")


def run(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments), "--isolated", "--progress", "none"])


def kept(folder, result, **update):
    if update:
        result = result.model_copy(update=update)
    write_report(result, {}, folder, ("json",), run_info={})
    return folder


def test_results_of_an_older_schema_compare(tmp_path):
    folders = [kept(tmp_path / name, full(points=40)) for name in ("a", "b")]
    for folder in folders:
        old = json.loads((folder / "result.json").read_text())
        for part in ("waivers", "baseline", "redacted", "checksum"):
            old.pop(part)
        old |= {"schema_version": "1.0", "no_longer_there": [1]}
        (folder / "result.json").write_text(json.dumps({**old, "checksum": checksum_of(old)}))
    found = run(*folders, "-o", tmp_path / "out", "--format", "json")
    assert found.exit_code == 0, found.output
    assert len(json.loads(found.stdout)["models"]) == 2


def test_findings_of_another_version_of_the_method_are_not_compared(tmp_path):
    new = kept(tmp_path / "new", full(points=40))
    old = kept(tmp_path / "old", full(points=40), method=MethodPart(version=1))
    found = run(new, old, "-o", tmp_path / "out")
    assert (found.exit_code, "another version of the method (1 against" in found.output) == (2, True)
    assert not (tmp_path / "out").exists()
    assert run(new, old, "-o", tmp_path / "out", "--anyway").exit_code == 0


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    common = ("--images", "shapes:1050:4", "--vlm", "builtin:shapes", "-o", out, "--format", "json")
    found = run("builtin:clean", "builtin:leaky", *common)
    assert found.exit_code == 0, found.output
    return out, json.loads(found.stdout)


def test_models_are_audited_and_ranked(audited):
    out, found = audited
    assert {p.name for p in out.iterdir()} == {"clean", "leaky", "compare.html", "compare.json", "run.json"} or {
        p.name for p in out.iterdir()
    } == {"builtin-clean", "builtin-leaky", "compare.html", "compare.json", "run.json"}
    assert [m["name"] for m in found["models"]] == ["clean.onnx", "leaky.onnx"]
    assert found["models"][0]["ranks"]["ratio"][0] == 2
    assert all(d["paired"] for d in found["differences"])
    assert {d["score"] for d in found["differences"]} == {"ratio", "attribute_score_deg", "image_score_deg"}
    assert found["models"][0]["effect_same_norm"]["n"] == 99
    page = (out / "compare.html").read_text()
    assert page.count("<svg") >= 3
    assert page.index("What differs") < page.index('<h2 id="ranks-h">')


def test_what_differs_leads_and_the_leaky_model_never_stands_before_the_clean_one(audited, tmp_path):
    out, found = audited
    assert found["order"] == [0, 1]
    apart = {part["group"]: part["findings"] for part in found["findings_apart"]}
    assert apart["colour"][1] == "strong"
    assert found["findings_apart"][0]["group"] == "colour"
    assert "class" in found["findings_alike"]
    folders = sorted((p for p in out.iterdir() if p.is_dir()), reverse=True)
    text = run(*folders, "-o", tmp_path / "other").output
    assert "mostly ranks models by how many null dimensions" in text
    assert text.index("colour") < text.index("ranked by scores")
    heads = next(line for line in text.splitlines() if line.startswith("what differs"))
    assert heads.index("clean") < heads.index("leaky")


def test_a_failed_gate_puts_a_model_last_and_is_said_first(tmp_path):
    one = full()
    gate = GatePart(
        name="colour is kept", rule="finding[colour] not in (strong)", found="redundant", value=None, low=None,
        high=None, n=None, limit="not in (strong)", status="pass", reason="",
    )  # fmt: skip
    failed = gate.model_copy(update={"status": "fail", "found": "strong"})
    verdict = one.verdict
    a = kept(tmp_path / "a", one, gates=[failed], verdict=verdict.model_copy(update={"status": "fail"}))
    b = kept(tmp_path / "b", one, gates=[gate], verdict=verdict.model_copy(update={"status": "pass"}))
    found = json.loads(run(a, b, "-o", tmp_path / "out", "--format", "json").stdout)
    assert found["order"] == [1, 0]
    assert found["gates_apart"][0]["statuses"] == ["fail", "pass"]
    assert found["gates_alike"] == 0
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.index("colour is kept") < page.index("Ranking")


def test_results_are_read_again_and_give_the_same(audited, tmp_path):
    out, found = audited
    folders = sorted(p for p in out.iterdir() if p.is_dir())
    again = run(*folders, "-o", tmp_path / "again", "--format", "json")
    assert again.exit_code == 0, again.output
    strip = lambda f: {**f, "models": [{**m, "source": ""} for m in f["models"]]}  # noqa: E731
    assert strip(json.loads(again.stdout)) == strip(found)
    # An earlier comparison may be replaced.
    assert run(*folders, "-o", tmp_path / "again").exit_code == 0
    # Scores of another audit beside a result are not taken for its own.
    mixed = tmp_path / "mixed"
    shutil.copytree(folders[0], mixed)
    shutil.copy(folders[1] / "scores.csv", mixed / "scores.csv")
    apart = run(mixed, folders[1], "-o", tmp_path / "apart", "--format", "json")
    assert not any(d["paired"] for d in json.loads(apart.stdout)["differences"])


def test_other_images_are_refused_unless_told(tmp_path):
    one = full()
    other = one.data.audit.model_copy(update={"digest": "cd" * 32})
    two = one.data.model_copy(update={"audit": other})
    a, b = kept(tmp_path / "a", one), kept(tmp_path / "b", one, data=two)
    refused = run(a, b, "-o", tmp_path / "out")
    assert refused.exit_code == 2
    assert "other images" in refused.output
    assert not (tmp_path / "out").exists()
    told = run(a, b, "-o", tmp_path / "out", "--anyway", "--format", "json")
    assert told.exit_code == 0, told.output
    assert any("other images" in w for w in json.loads(told.stdout)["warnings"])


def test_what_cannot_be_compared_exits_2(tmp_path):
    bare = kept(tmp_path / "bare", geometry_only())
    for arguments in ((bare, bare), (bare,), ("builtin:clean", "builtin:leaky"), (tmp_path / "none.json", bare)):
        found = run(*arguments, "-o", tmp_path / "out")
        assert found.exit_code == 2, found.output
    assert not (tmp_path / "out").exists()
