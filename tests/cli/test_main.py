"""The command line as people run it: exit codes, messages, files, and nothing half-written."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import onnx
import PIL.Image
import pytest
from command_line import typed

RUN = [sys.executable, "-m", "singaudit"]

pytestmark = pytest.mark.usefixtures("kept")


def singaudit(*arguments, cwd, env=None, **kwargs):
    environment = {**os.environ, "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", **(env or {})}
    return subprocess.run(
        [*RUN, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=environment, timeout=240, **kwargs
    )


@pytest.fixture(scope="module")
def audited(models, tmp_path_factory):
    """One audit of the leaky model through the command line, and the folder it was run in."""
    folder = tmp_path_factory.mktemp("audit")
    found = singaudit(
        "run", models / "leaky.onnx", "--images", "shapes:1200", "--vlm", "builtin:shapes",
        "--gate", "finding[colour] not in (strong, partial)", "-o", "out", cwd=folder,
    )  # fmt: skip
    return found, folder


def test_a_failed_gate_exits_1_and_the_report_is_there(audited):
    found, folder = audited
    assert found.returncode == 1, found.stderr
    assert "FAIL" in found.stdout
    assert {p.name for p in (folder / "out").iterdir()} >= {"report.html", "result.json", "scores.csv", "run.json"}
    assert "Traceback" not in found.stderr


def test_result_satisfies_the_printed_schema(audited, tmp_path):
    result = json.loads((audited[1] / "out" / "result.json").read_text())
    schema = json.loads(typed("schema", cwd=tmp_path).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(result, schema)
    assert result["verdict"]["status"] == "fail"
    assert set(result["scores"]["image_score_deg"]) == {"value", "low", "high", "n"}
    assert {"name", "sha256"} <= set(result["model"])
    assert len(result["geometry"]["singular_values"]) == result["geometry"]["classes"]


def test_scores_have_a_row_per_image(audited):
    lines = (audited[1] / "out" / "scores.csv").read_text().splitlines()
    assert len(lines) == 1201
    assert lines[0].startswith("image,sha256,class,predicted,image_score_deg")


def test_no_control_codes_reach_a_pipe(audited):
    assert "\x1b" not in audited[0].stdout + audited[0].stderr


def test_time_and_host_are_in_run_json_alone(audited):
    run = json.loads((audited[1] / "out" / "run.json").read_text())
    assert {"started", "host", "seconds"} <= set(run)
    text = (audited[1] / "out" / "result.json").read_text()
    assert run["host"] not in text or len(run["host"]) < 4
    assert run["started"] not in text


def test_report_renders_again_without_inference(audited, tmp_path):
    found = typed("report", audited[1] / "out" / "result.json", "-o", "again", "--report", "html,json", cwd=tmp_path)
    assert found.exit_code == 0, found.stderr
    again = tmp_path / "again"
    assert (again / "result.json").read_bytes() == (audited[1] / "out" / "result.json").read_bytes()
    assert (again / "report.html").read_bytes() == (audited[1] / "out" / "report.html").read_bytes()


def test_a_folder_with_other_files_is_refused_before_any_work(models, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    found = typed("run", models / "leaky.onnx", "-o", "out", cwd=tmp_path)
    assert found.exit_code == 2
    assert "thesis.txt" in found.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_without_images_the_geometry_is_audited_and_it_exits_4(models, tmp_path):
    found = singaudit("run", models / "leaky.onnx", "--report", "html,json", cwd=tmp_path)
    assert found.returncode == 4, found.stderr
    assert "--images" in found.stdout
    assert (tmp_path / "singaudit-out" / "report.html").exists()


def test_exit_zero_hides_4_but_not_2(models, tmp_path):
    assert singaudit("run", models / "leaky.onnx", "--exit-zero", "--report", "json", cwd=tmp_path).returncode == 0
    assert singaudit("run", "missing.onnx", "--exit-zero", cwd=tmp_path).returncode == 2


def bad_inputs(models, folder):
    """Name -> (arguments after ``run``, what the message must say)."""
    leaky = str(models / "leaky.onnx")
    data = (models / "leaky.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(data[: len(data) // 2])
    (folder / "text.onnx").write_text("this is not a model")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "nothing").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "a.jpg").write_bytes(b"nonsense")
    (folder / "named").mkdir()
    (folder / "named" / "unicorn").mkdir()
    PIL.Image.new("RGB", (8, 8)).save(folder / "named" / "unicorn" / "a.png")
    model = onnx.load(leaky)
    weights = max((i for i in model.graph.initializer if len(i.dims) == 2), key=lambda i: i.dims[0])
    array = onnx.numpy_helper.to_array(weights).copy()
    array[0, 0] = float("nan")
    weights.CopyFrom(onnx.numpy_helper.from_array(array, weights.name))
    onnx.save(model, folder / "nan.onnx")
    classes8 = "a,b,c,d,e,f,g,h"
    return {
        "no such file": (["none.onnx"], "none.onnx"),
        "a folder": (["nothing"], "nothing"),
        "not a model": (["text.onnx"], "text.onnx"),
        "an empty file": (["empty.onnx"], "empty.onnx"),
        "truncated": (["truncated.onnx"], "truncated.onnx"),
        "NaN weights": (["nan.onnx"], "nan"),
        "too few names": ([leaky, "--classes", "dog,cat"], "8 class names"),
        "duplicate names": ([leaky, "--classes", "a,a,c,d,e,f,g,h"], "more than once"),
        "an empty name": ([leaky, "--classes", "a,,c,d,e,f,g,h"], "is empty"),
        "no class file": ([leaky, "--classes", "names.txt"], "names.txt"),
        "no image folder": ([leaky, "--images", "none"], "there is no none"),
        "an empty image folder": ([leaky, "--images", "nothing"], "holds no file"),
        "only unreadable images": ([leaky, "--images", "broken", "--vlm", "builtin:shapes"], "none of its 1"),
        "labels that are no classes": ([leaky, "--images", "named"], "unicorn"),
        "a bad count": ([leaky, "--images", "shapes:many"], "shapes"),
        "a bad gate": ([leaky, "--gate", "scores <"], "expected a gate"),
        "a gate naming nothing": ([leaky, "--gate", "scores.nonsense < 1"], "names nothing"),
        "bad preprocessing": ([leaky, "--preprocess", "size=64,std=0"], "std"),
        "bad format": ([leaky, "--report", "docx"], "docx"),
        "bad device": ([leaky, "--device", "tpu"], "device"),
        "no encoder": ([leaky, "--images", "shapes:60", "--vlm", "nothing"], "config.json"),
        "no concepts": ([leaky, "--images", "shapes:60", "--concepts", "none.toml"], "none.toml"),
        "no such tensor": ([leaky, "--logits", "nonsense"], "nonsense"),
        "names that do not fit": ([leaky, "--classes", classes8 + ",i"], "8 class names"),
    }


def test_bad_input_exits_2_with_one_message_and_writes_nothing(models, tmp_path):
    failures = []
    for name, (arguments, expected) in bad_inputs(models, tmp_path).items():
        found = typed("run", *arguments, "-o", "out", "--progress", "none", cwd=tmp_path)
        wrong = [
            what
            for what, ok in {
                f"exit {found.exit_code}": found.exit_code == 2,
                "traceback": "Traceback" not in found.stderr,
                "message": expected.lower() in found.stderr.lower(),
                "stdout": not found.stdout,
                "files": not (tmp_path / "out").exists(),
                "length": 0 < len(found.stderr.strip().splitlines()) <= 4,
            }.items()
            if not ok
        ]
        if wrong:
            failures.append(f"{name}: {wrong}: {found.stderr[-600:]}")
    assert not failures, "\n".join(failures)


def test_a_wrong_gate_is_pointed_at(models, tmp_path):
    gate = "mine = scores.ratio < abc"
    found = typed("run", models / "leaky.onnx", cwd=tmp_path, env={"SINGAUDIT_GATE": f"default\n{gate}"})
    assert found.exit_code == 2
    shown = found.stderr.splitlines()
    assert shown[1].strip() == gate
    assert shown[2].index("^") == shown[1].index("abc")


def test_errors_as_json(tmp_path):
    found = singaudit("run", "none.onnx", "--format", "json", cwd=tmp_path)
    assert found.returncode == 2
    assert set(json.loads(found.stderr)) == {"code", "message", "hint"}


def test_a_mistyped_command_and_option_are_answered_with_what_was_close(tmp_path):
    assert "'inspect'" in typed("inspct", cwd=tmp_path).stderr
    found = typed("run", "m.onnx", "--image", "x", cwd=tmp_path)
    assert found.exit_code == 2
    assert "--images" in found.stderr


def test_inspect_prints_json_and_text(models, tmp_path):
    facts = json.loads(typed("inspect", models / "leaky.onnx", "--format", "json", cwd=tmp_path).stdout)
    assert facts["format"] == "onnx"
    assert (facts["head"]["classes"], facts["head"]["feature_dim"]) == (8, 64)
    assert facts["geometry"]["null_dim"] == 56
    text = typed("inspect", models / "leaky.onnx", cwd=tmp_path)
    assert text.exit_code == 0
    assert "null dimensions" in text.stdout
    table, conclusion = text.stdout.rstrip().split("\n\n")
    assert conclusion.startswith("The head ignores 88% of its feature space: 56 of 64 dimensions move no logit.")
    assert conclusion.splitlines()[-1].startswith("Next: singaudit run")
    assert facts["sha256"] in table.split()
    assert "Reading" in text.stderr
    names = [line.split("  ")[0] for line in table.splitlines() if not line.startswith(" ")]
    assert len(set(names)) == len(names)


def test_settings_come_from_option_variable_file_and_default_in_that_order(models, tmp_path):
    (tmp_path / "singaudit.toml").write_text('gates = ["geometry.null_dim < 1"]\nreport = ["json"]\n')
    model = models / "leaky.onnx"
    assert typed("run", model, cwd=tmp_path).exit_code == 1
    assert [p.name for p in (tmp_path / "singaudit-out").iterdir() if p.suffix == ".html"] == []
    assert typed("run", model, cwd=tmp_path, env={"SINGAUDIT_GATE": "default"}).exit_code == 4
    assert typed("run", model, "--isolated", "--report", "json", cwd=tmp_path).exit_code == 4
    (tmp_path / "singaudit.toml").write_text('imges = "x"\n')
    found = typed("run", model, cwd=tmp_path)
    assert found.exit_code == 2
    assert "'images'" in found.stderr


def test_formats_may_be_a_list_or_given_one_by_one(models, tmp_path):
    for words in (["--report", "json,html"], ["--report", "json", "--report", "html"]):
        assert typed("run", models / "leaky.onnx", *words, "--force", cwd=tmp_path).exit_code == 4
        written = {path.name for path in (tmp_path / "singaudit-out").iterdir()}
        assert written == {"report.html", "result.json", "run.json"}
    found = typed("run", models / "leaky.onnx", "-o", "v", cwd=tmp_path, env={"SINGAUDIT_REPORT": "html, json"})
    assert found.exit_code == 4
    assert {path.name for path in (tmp_path / "v").iterdir()} == {"report.html", "result.json", "run.json"}
    assert typed("run", models / "leaky.onnx", "--report", "", cwd=tmp_path).exit_code == 2


def test_a_configuration_file_sets_options_that_have_defaults_too(models, tmp_path):
    (tmp_path / "singaudit.toml").write_text('output = "here"\nformat = "json"\nprogress = "none"\nreport = "json"\n')
    found = typed("run", models / "leaky.onnx", cwd=tmp_path)
    assert json.loads(found.stdout)["geometry"]["null_dim"] > 0
    assert found.stderr.startswith("Report: here/result.json")
    assert found.stderr.count("\n") == 1
    assert (tmp_path / "here" / "result.json").is_file()
    assert not (tmp_path / "singaudit-out").exists()
    assert "null dimensions" in typed("inspect", models / "leaky.onnx", "--format", "text", cwd=tmp_path).stdout
    refused = typed("run", "missing.onnx", cwd=tmp_path)
    assert json.loads(refused.stderr)["code"]


def test_what_libraries_print_of_broken_images_stays_off_the_terminal(models, tmp_path):
    from singaudit.dataset.sources.table import open_source

    source, file = open_source("shapes:70"), io.BytesIO()
    (tmp_path / "im").mkdir()
    for i in range(70):
        PIL.Image.fromarray(source.load(i).pixels).save(tmp_path / "im" / f"{i}.png")
    PIL.Image.fromarray(source.load(0).pixels).save(file, "TIFF", compression="tiff_adobe_deflate")
    broken = bytearray(file.getvalue())
    broken[100] ^= 0x55
    (tmp_path / "im" / "broken.tif").write_bytes(broken)
    code = "import sys; from singaudit.dataset.decode import decode; decode(sys.stdin.buffer.read())"
    alone = subprocess.run([sys.executable, "-c", code], input=bytes(broken), capture_output=True)
    assert b"ZIPDecode" in alone.stderr  # what is at stake
    found = singaudit(
        "run", models / "leaky.onnx", "--images", tmp_path / "im", "--vlm", "builtin:shapes", "--report", "json",
        "--generate", "0", "--progress", "plain", "--format", "json", "-o", tmp_path / "out", cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(found.stdout)["data"]["audit"]["skipped_count"] == 1
    assert "write the report: done" in found.stderr
    assert "ZIPDecode" not in found.stderr


def test_pyproject_settings_are_read_from_a_folder_above(models, tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.singaudit]\nimages = "shapes:60"\nvlm = "builtin:shapes"\n')
    (tmp_path / "deep").mkdir()
    found = typed("run", models / "leaky.onnx", "--report", "json", "--format", "json", cwd=tmp_path / "deep")
    assert found.exit_code == 4, found.stderr
    assert json.loads(found.stdout)["data"]["audit"]["found"] == 60


def test_some_unreadable_images_are_counted_and_named(models, tmp_path):
    from singaudit.dataset.sources.table import open_source

    source = open_source("shapes:70")
    (tmp_path / "images").mkdir()
    for i in range(70):
        PIL.Image.fromarray(source.load(i).pixels).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "images" / "bad <b>.png").write_bytes(b"nonsense")
    found = typed(
        "run", models / "leaky.onnx", "--images", "images", "--vlm", "builtin:shapes", "--report", "html,json",
        cwd=tmp_path,
    )  # fmt: skip
    assert found.exit_code == 4, found.stderr
    result = json.loads((tmp_path / "singaudit-out" / "result.json").read_text())
    assert result["data"]["audit"]["skipped_count"] == 1
    assert result["data"]["audit"]["skipped"][0]["name"] == "bad <b>.png"
    html = (tmp_path / "singaudit-out" / "report.html").read_text()
    assert "bad &lt;b&gt;.png" in html
    assert "bad <b>.png" not in html


def test_an_interrupt_leaves_no_report(models, tmp_path):
    import signal

    process = subprocess.Popen(
        [*RUN, "run", str(models / "leaky.onnx"), "--images", "shapes:200000", "--vlm", "builtin:shapes"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("look at the images"):
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)  # the images would take several minutes
    assert process.returncode == 130
    assert "Traceback" not in error
    assert not (tmp_path / "singaudit-out").exists()


def test_doctor_says_what_works(tmp_path):
    found = typed("doctor", "--format", "json", cwd=tmp_path)
    assert found.exit_code == 0
    checks = {c["name"]: c for c in json.loads(found.stdout)["checks"]}
    assert checks["built-in language model"]["ok"]
    assert all(c["ok"] or c["mend"] for c in checks.values())


def test_installed_command_is_the_same_program(tmp_path):
    script = Path(sys.executable).with_name("singaudit")
    shown = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert shown == singaudit("--version", cwd=tmp_path).stdout


def test_a_bug_keeps_its_traceback_and_never_exits_1(models, tmp_path):
    # The report stage is made to fail in a way no user can cause.
    code = (
        "import singaudit.pipeline.audit as p\n"
        "def broken(*a, **k): raise ZeroDivisionError('planted')\n"
        "p.null_space = broken\n"
        "from singaudit.cli.main import main\n"
        f"main(['run', {str(models / 'leaky.onnx')!r}, '--progress', 'none'])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert found.returncode == 3
    assert "Traceback" in found.stderr
    assert "planted" in found.stderr


def test_a_reader_that_goes_away_is_not_a_failed_gate(models, tmp_path):
    command = (
        f"{sys.executable} -m singaudit inspect {models / 'leaky.onnx'} --format json | true; exit ${{PIPESTATUS[0]}}"
    )
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert found.returncode == 0, found.stderr
