"""Redaction: no picture, no name of an image, no path and no host in any file, and every number as it was."""

import json
import shlex
import shutil
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner
from pypdf import PdfReader
from report_factory import full

from singaudit.cli.commands.run import without_places
from singaudit.cli.main import main
from singaudit.pipeline.audit import Audit
from singaudit.report.build.redact import REDACTED, redacted, redacted_command, redacted_rows, redacted_run, short_hash
from singaudit.report.formats.pdf import pdf_available
from singaudit.report.formats.table import FORMATS
from singaudit.report.formats.writer import write_report
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.store import load_result

SECRET = "/home/jane.doe/secret-customer"
COMMAND = (
    f"singaudit run {SECRET}/leaky.onnx --classes {SECRET}/names.txt --images {SECRET}/photos --vlm models/own-clip "
    f"--concepts lists/words.toml --limit 800 --allow-code --toward 'a red {SECRET}/x' --gate "
    "'finding[colour] not in (strong)'"
)


def secret() -> AuditResult:
    """A result that names places wherever one can stand."""
    plain = full(points=40).model_dump(mode="json")
    plain["reproduce"]["command"] = COMMAND
    plain["data"]["audit"] |= {
        "source": f"{SECRET}/photos",
        "skipped": [{"name": "patient smith.png", "reason": f"is no image: {SECRET}/photos/patient smith.png"}],
    }
    plain["data"]["labels_source"] = "patients.csv"
    plain["encoder"] |= {"name": "models/own-clip", "revision": "0" * 64}
    plain["model"]["class_names_source"] = f"from {SECRET}/names.txt"
    plain["certificate"] = plain["certificate"] and {**plain["certificate"], "reason": r"C:\Users\jane\x.onnx broke"}
    plain["warnings"] = [
        "1 images could not be read and were left out; the first: patient smith.png is no image",
        "3 images occur again with another label; the first: patient jones.png and patient brown.png",
        f"cannot open {SECRET}/x or ~/secret-customer/y, as https://example.org/a/b says",
        "0.5/0.5/0.5 of 3/4 and/or a path/of/words",
    ]
    return AuditResult.model_validate(plain)


def test_no_place_and_no_name_is_left_and_every_number_is() -> None:
    before = secret()
    found = redacted(before)
    text = found.model_dump_json()
    for word in ("jane", "secret", "patient", "smith", "jones", "own-clip", "words.toml", "names.txt", "data:image"):
        assert word not in text, word
    assert found.redacted
    assert (found.scores, found.gates, found.verdict) == (before.scores, before.gates, before.verdict)
    assert (found.model.sha256, found.data.audit.digest) == (before.model.sha256, before.data.audit.digest)
    assert [f.finding for f in found.findings] == [f.finding for f in before.findings]
    assert found.warnings[1].endswith(f"; the first: {REDACTED}")
    assert "https://example.org/a/b" in found.warnings[2]
    assert found.warnings[3] == before.warnings[3]
    assert redacted(found) == found


def test_the_command_keeps_its_options_and_can_still_be_typed() -> None:
    assert shlex.split(redacted_command(COMMAND, "leaky.onnx", {"models/own-clip"})) == [
        "singaudit", "run", "leaky.onnx", "--classes", "CLASSES", "--images", "IMAGES", "--vlm", "VLM", "--concepts",
        "CONCEPTS", "--limit", "800", "--allow-code", "--toward", f"a red {REDACTED}", "--gate",
        "finding[colour] not in (strong)",
    ]  # fmt: skip
    public = "singaudit run timm:resnet18.a1 --classes dog,cat --images shapes:80 --vlm openai/clip-vit-base-patch32"
    assert redacted_command(public, "resnet18") == public
    assert redacted_command("singaudit run 'unclosed", "x") == REDACTED
    assert redacted_command("curl x", "x") == REDACTED


def test_a_class_called_as_a_folder_stays_a_class() -> None:
    plain = secret().model_dump(mode="json")
    plain["model"]["class_names"][0] = "circle"
    plain["data"]["audit"]["source"] = "circle"
    found = redacted(AuditResult.model_validate(plain))
    assert found.model.class_names[0] == "circle"
    assert [c.name for c in found.classes] == [c.name for c in secret().classes]


def test_rows_and_run_json() -> None:
    assert redacted_rows({"image": ["a.png", "a.png"], "sha256": ["0", "1"]}) == {
        "image": [short_hash("a.png")] * 2,
        "sha256": ["0", "1"],
    }
    run = {"tool": "singaudit", "started": "2026", "seconds": 1, "host": "h", "platform": "p", "arguments": [SECRET]}
    assert redacted_run(run) == {"tool": "singaudit", "started": "2026", "seconds": 1}


def test_an_earlier_result_is_rendered_redacted_into_another_folder(tmp_path) -> None:
    write_report(secret(), {"image": ["patient.png"]}, tmp_path / "out", ("json", "csv"), run_info={"host": "h0st"})
    wanted = [name for name in FORMATS if name != "csv" and (name != "pdf" or pdf_available() is None)]
    source = str(tmp_path / "out" / "result.json")
    done = CliRunner().invoke(main, ["report", source, "--redact", "-o", str(tmp_path / "out")])
    assert (done.exit_code, "another folder with --redact" in done.output) == (2, True)
    done = CliRunner().invoke(
        main, ["report", source, "--redact", "-o", str(tmp_path / "r"), "--report", ",".join(wanted)]
    )
    assert done.exit_code == 0, done.output
    check_files(tmp_path / "r", ["jane", "secret", "patient", "own-clip", "h0st"])
    page = (tmp_path / "r" / "report.html").read_text(encoding="utf-8")
    assert "This report is redacted" in page
    assert "(no picture in the result)" not in page
    assert load_result(tmp_path / "out" / "result.json") != load_result(tmp_path / "r" / "result.json")


def check_files(folder, words) -> None:
    """No file of ``folder``, nor what a PDF embeds, holds any of ``words`` or a picture of a user's."""
    names = {p.name for p in folder.iterdir()}
    assert "pictures" not in names
    for path in folder.iterdir():
        text = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".pdf":
            reader = PdfReader(path)
            text = (
                " ".join(page.extract_text() for page in reader.pages) + reader.attachments["result.json"][0].decode()
            )
        for word in [*words, "data:image/jpeg", "data:image/png"]:
            assert word not in text, (path.name, word)


def test_an_audit_is_written_without_rows_that_name_images_and_without_pictures(tmp_path) -> None:
    found = without_places(Audit(secret(), {"image": ["patient smith.png"], "n": [1]}, {"pictures/000-a.png": b"PNG"}))
    write_report(
        found.result, found.per_image, tmp_path / "out", ("json", "csv", "html"), run_info={}, pictures=found.files
    )
    check_files(tmp_path / "out", ["jane", "secret", "patient", "smith"])
    assert (tmp_path / "out" / "scores.csv").read_text() == f"image,n\n{short_hash('patient smith.png')},1\n"
    assert found.exit_code == Audit(secret(), {}).exit_code


def test_the_real_command_writes_nothing_that_must_not_leave(tmp_path, models) -> None:
    folder = tmp_path / "secret-customer" / "jane.doe"
    folder.mkdir(parents=True)
    shutil.copy(models / "leaky.onnx", folder)
    (folder / "names.txt").write_text("\n".join("abcdefgh"))
    done = subprocess.run(
        [sys.executable, "-m", "singaudit", "run", str(folder / "leaky.onnx"), "--classes", str(folder / "names.txt"),
         "--redact", "--progress", "none", "--format", "json", "-o", "out", "--report",
         ",".join(name for name in FORMATS if name != "pdf")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    words = ["secret-customer", "jane.doe", "names.txt", str(tmp_path)]
    words += [socket.gethostname()] if len(socket.gethostname()) > 3 else []
    check_files(tmp_path / "out", words)
    assert not any(word in done.stdout for word in words)
    assert json.loads(done.stdout)["redacted"]
    assert "singaudit run leaky.onnx --classes CLASSES" in done.stdout


@pytest.mark.parametrize("path", ["/srv/a/b.png", "~/a", r"C:\a\b", r"\\host\share\x", "/home/x/"])
def test_paths_of_every_kind_go(path) -> None:
    result = full(points=40).model_copy(update={"warnings": [f"it is {path}, they say"]})
    assert redacted(result).warnings == [f"it is {REDACTED}, they say"]
