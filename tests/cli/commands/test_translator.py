"""singaudit translator as people run it, and the audit by a translator that was kept."""

import json

import pytest
from click.testing import CliRunner

from singaudit.cli.command import each_command
from singaudit.cli.main import main
from singaudit.config import AuditConfig
from singaudit.errors import ConfigError, DatasetError, LanguageError
from singaudit.pipeline.audit import audit

VLM = "builtin:shapes"


def test_the_precision_of_the_language_model_is_an_option_wherever_it_computes():
    commands = dict(each_command(main))
    options = {name: {o for p in c.params for o in p.opts} for name, c in commands.items()}
    with_model = {name for name, found in options.items() if "--vlm" in found}
    assert with_model == {name for name, found in options.items() if "--precision" in found}
    assert with_model >= {"run", "pack", "compare", "image", "translator fit", "refit"}


def test_a_translator_of_another_precision_is_said(tmp_path):
    path = tmp_path / "t.safetensors"
    fitted = run(
        "translator", "fit", "builtin:leaky", "--images", "shapes:100:5", "--vlm", VLM, "-o", path, "--precision",
        "bf16", "--format", "json", "--progress", "none", "--isolated", "--no-cache",
    )  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    assert json.loads(fitted.stdout)["encoder_precision"] == "bf16"
    found = audit(
        AuditConfig(
            model="builtin:leaky", images="shapes:100:6", vlm=VLM, translator=str(path), cache="none", generate=0
        )
    )
    assert any("computed in bf16; these are in fp32" in warning for warning in found.result.warnings)


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "t.safetensors"
    found = run(
        "translator", "fit", "builtin:leaky", "--images", "shapes:1100:5", "--vlm", VLM, "-o", path, "--format", "json",
        "--progress", "none", "--isolated",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    return path, json.loads(found.stdout)


def test_a_kept_translator_says_what_it_is(kept):
    path, facts = kept
    assert facts["r2"]["low"] > 0.2
    shown = run("translator", "show", path)
    assert shown.exit_code == 0
    assert "leaky.onnx" in shown.output
    # Images that show the same count once; of generated shapes a few do.
    assert 1080 <= facts["images"] <= 1100
    assert f"{facts['images']:,}" in shown.output


def test_an_audit_by_a_kept_translator(kept):
    path, facts = kept
    config = AuditConfig(model="builtin:leaky", images="shapes:300:6", vlm=VLM, translator=str(path))
    result = audit(config).result
    assert (result.translator.fitted_on, result.translator.images) == ("a file's images", facts["images"])
    assert {f.group: f.finding for f in result.findings}["colour"] == "strong"
    assert "--translator" in result.reproduce.command
    with pytest.raises(LanguageError, match="belongs to"):
        audit(config.model_copy(update={"model": "builtin:clean"}))
    with pytest.raises(ConfigError, match="both"):
        audit(config.model_copy(update={"probe": "shapes:60"}))
    # Its own images are no test of it.
    with pytest.raises(DatasetError, match="none"):
        audit(config.model_copy(update={"images": "shapes:50:5"}))


def test_nothing_else_is_overwritten(tmp_path, kept):
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    found = run("translator", "import", tmp_path, "-o", precious)
    assert found.exit_code == 2
    assert precious.read_text() == "mine"
    assert run("translator", "import", tmp_path, "-o", tmp_path / "new").exit_code == 2
    assert not (tmp_path / "new").exists()
