"""singaudit cache as people run it."""

import json

from click.testing import CliRunner

from singaudit.cli.main import main


def run(*words):
    return CliRunner().invoke(main, ["cache", *map(str, words)])


def test_what_an_audit_kept_is_shown_and_removed(tmp_path):
    folder = tmp_path / "kept"
    made = CliRunner().invoke(
        main,
        ["pack", "--images", "shapes:8", "--vlm", "builtin:shapes", "--cache", str(folder), "-o",
         str(tmp_path / "p.pack"), "-q", "--isolated"],
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    facts = json.loads(run("show", "--cache", folder, "--format", "json").stdout)
    assert set(facts["kinds"]) == {"images", "texts"}
    assert facts["bytes"] == sum(facts["kinds"].values()) > 0
    assert "images:" in run("show", "--cache", folder).stdout
    cleared = run("clear", "--cache", folder)
    assert cleared.exit_code == 0
    assert "Removed" in cleared.stdout
    assert json.loads(run("show", "--cache", folder, "--format", "json").stdout)["bytes"] == 0
    assert not [p for p in folder.rglob("*") if p.is_file()]


def test_no_cache_or_a_file_in_its_place_is_one_message(tmp_path):
    assert run("show", "--cache", tmp_path / "none there").exit_code == 0
    (tmp_path / "file").write_text("")
    for words in (["--cache", "none"], ["--cache", tmp_path / "file"]):
        for command in ("show", "clear"):
            found = run(command, *words)
            assert found.exit_code == 2
            assert "expected a" in found.stderr
