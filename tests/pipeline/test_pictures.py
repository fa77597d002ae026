"""Pictures of an audit as people get them: files, result, progress, reasons, and what Ctrl-C leaves."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from singaudit import AuditConfig, audit
from singaudit.classifier.interface import Certificate
from singaudit.report.formats.folder import check_output_folder
from singaudit.report.formats.writer import write_report

IMAGES = "shapes:700:5"


class Told:
    """A progress that takes notes."""

    def __init__(self):
        self.stages, self.notes = [], []

    def __call__(self, stage, done, total):
        self.stages.append((stage, done, total))

    def note(self, stage, text):
        self.notes.append((stage, text))


@pytest.fixture(scope="module")
def leaky():
    told = Told()
    config = AuditConfig(
        model="builtin:leaky", images=IMAGES, vlm="builtin:shapes", generate=4, toward="colour", cache="none"
    )
    return audit(config, told), told


def test_the_result_lists_pictures_of_every_kind_and_the_files_exist(leaky, tmp_path):
    found, told = leaky
    kinds = {p.kind for p in found.result.pictures}
    assert kinds == {"neighbour", "natural pair", "refined"}
    refined = [p for p in found.result.pictures if p.kind == "refined"]
    assert len(refined) == 4
    assert found.result.generation.success.n == 4
    assert found.result.generation.success.value == np.mean([p.success for p in refined])
    assert "carried by what the head ignores" in found.result.generation.sentence
    for p in found.result.pictures:
        if p.kind == "natural pair":
            assert p.logit_difference <= 0.1
            assert p.null_move >= 0.8
            assert p.top1_kept is not None
            assert p.success is None
        assert len(p.thumbnail) < 60_000
    out = tmp_path / "out"
    write_report(found.result, found.per_image, out, ["json", "html"], run_info={}, pictures=found.files)
    for p in refined:
        for name in (p.file, p.original_file):
            assert Image.open(out / name).size == (64, 64)
    assert any(stage == "make equivalent images" and done == 4 for stage, done, _ in told.stages)
    assert any("worst logit error" in text for _, text in told.notes)


def test_the_folder_is_known_as_an_audits_own_and_a_later_audit_drops_its_pictures(leaky, tmp_path):
    found, _ = leaky
    out = tmp_path / "out"
    write_report(found.result, found.per_image, out, ["json"], run_info={}, pictures=found.files)
    check_output_folder(out)
    write_report(found.result, {}, out, ["html"], run_info=None)
    assert len(list((out / "pictures").iterdir())) == 12, "rendered again, the same result keeps its pictures"
    other = found.result.model_copy(update={"warnings": ["another"], "pictures": []})
    write_report(other, found.per_image, out, ["json"], run_info={})
    assert not (out / "pictures").exists()
    write_report(found.result, found.per_image, out, ["json"], run_info={}, pictures=found.files)
    (out / "pictures" / "mine.png").write_bytes(b"")
    with pytest.raises(Exception, match="pictures"):
        check_output_folder(out)


def test_without_a_trusted_certificate_nothing_is_generated_and_the_report_says_why(monkeypatch):
    from singaudit.classifier.sandbox.onnx_classifier import OnnxClassifier

    def failed(self, inputs, *, seed=0, device="cpu"):
        return Certificate("failed", "fp32", 1e-4, 0.5, 0.5, 0.5, 1.0, 0.3, "16 probe images", (), "outputs differ")

    monkeypatch.setattr(OnnxClassifier, "certify", failed)
    config = AuditConfig(model="builtin:leaky", images="shapes:400", vlm="builtin:shapes", cache="none")
    result = audit(config).result
    assert result.generation.status == "none"
    assert result.generation.reason == "the shadow copy has no trusted certificate: outputs differ"
    assert "outputs differ" in result.generation.sentence
    assert not [p for p in result.pictures if p.kind == "refined"]
    assert [p for p in result.pictures if p.kind == "neighbour"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_the_first_ctrl_c_keeps_what_is_finished_and_the_audit_completes(tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "singaudit", "run", "builtin:leaky", "--images", "shapes:600", "--vlm", "builtin:shapes",
        "--toward", "colour", "--generate", "300", "--report", "json", "--progress", "plain", "--no-cache",
        "-o", str(out),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("make equivalent images:") and not line.startswith("make equivalent images: 0/"):
            # As a terminal does: to every process of the group, the model's own among them.
            os.killpg(process.pid, signal.SIGINT)
            break
    seen += process.stderr.readlines()
    assert process.wait(60) in (0, 4), "".join(seen)
    result = json.loads((out / "result.json").read_text())
    generation = result["generation"]
    assert generation["status"] == "stopped"
    assert generation["reason"].startswith("interrupted: ")
    made = [p for p in result["pictures"] if p["kind"] == "refined"]
    assert 0 < len(made) < 300
    assert all((out / p["file"]).is_file() for p in made)


def test_an_audit_from_the_cache_without_equivalents_opens_no_torch(tmp_path):
    code = (
        "import sys\nfrom singaudit import AuditConfig, audit\n"
        "audit(AuditConfig(model='builtin:leaky', images='shapes:60', vlm='builtin:shapes', generate=0, "
        f"cache={str(tmp_path)!r}))\n"
        "print('torch' in sys.modules)"
    )
    seen = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout
        for _ in range(2)
    ]
    assert [words.split()[-1] for words in seen] == ["True", "False"]
