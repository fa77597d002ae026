"""The action's steps run as bash with its inputs in the environment, hostile ones included; the hook and the image."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
INSTALL, AUDIT = ACTION["runs"]["steps"]
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


def value(text: str, inputs: dict[str, str]) -> str:
    return re.sub(
        r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs.get(m[1], ACTION["inputs"][m[1]].get("default", "")), text
    )


def run(tmp_path, command=None, **inputs):
    """(exit code, outputs, arguments that singaudit got) of the audit's step; ``command`` stands in for Python."""
    inputs = {"python": command or sys.executable, **inputs}
    output = tmp_path / "outputs"
    output.touch()
    env = {**os.environ, "GITHUB_OUTPUT": str(output), **{k: value(v, inputs) for k, v in AUDIT["env"].items()}}
    done = subprocess.run(["bash", "-e", "-c", AUDIT["run"]], env=env, cwd=tmp_path, capture_output=True, text=True)
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done, outputs


def test_no_input_is_pasted_into_shell_text() -> None:
    for step in (INSTALL, AUDIT):
        assert "${{" not in step["run"]
    assert set(ACTION["inputs"]) <= {m for v in AUDIT["env"].values() for m in re.findall(r"inputs\.(\w+)", v)}


def test_an_audit_that_cannot_tell_fails_the_step_and_says_so(tmp_path) -> None:
    done, outputs = run(tmp_path, model="builtin:clean", args="--progress=none\n--cache=none")
    assert done.returncode == 4, done.stderr
    assert outputs == {
        "verdict": "inconclusive",
        "exit-code": "4",
        "report": "singaudit-out",
        "sarif": "singaudit-out/singaudit.sarif",
        "junit": "singaudit-out/TEST-singaudit.xml",
    }
    assert (tmp_path / outputs["sarif"]).is_file()
    assert (tmp_path / outputs["junit"]).is_file()


def test_hostile_inputs_are_arguments_and_nothing_else(tmp_path) -> None:
    recorder = tmp_path / "recorder"
    recorder.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open('got.json', 'w'))\nsys.exit(2)\n"
    )
    recorder.chmod(0o755)
    hostile = ["; touch owned", "$(touch owned)", "`touch owned`", "a' b\" c", "--force", "* ? [a]", "\\", "é🙂 \x07"]
    for text in hostile:
        inputs = dict.fromkeys(("model", "images", "classes", "vlm", "pack", "baseline"), text)
        done, outputs = run(
            tmp_path, str(recorder), **inputs, gates=f"{text}\n\nb < 1\r\n", args=f"{text}\n  \n--limit=3"
        )
        assert done.returncode == 2
        assert outputs["verdict"] == ""
        got = json.loads((tmp_path / "got.json").read_text())
        assert got[-2:] == ["--", text]
        assert [f"--{name}={text}" for name in ("images", "classes", "vlm", "pack", "baseline")] == got[5:10]
        assert got[10:14] == [f"--gate={text}", "--gate=b < 1", text, "--limit=3"]
        assert not (tmp_path / "owned").exists()


def test_a_line_break_in_an_input_stays_in_its_argument(tmp_path) -> None:
    recorder = tmp_path / "recorder"
    recorder.write_text(
        f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open('got.json', 'w'))\nsys.exit(2)\n"
    )
    recorder.chmod(0o755)
    text = "a\n; touch owned\n$(touch owned)\n--force"
    run(tmp_path, str(recorder), **dict.fromkeys(("model", "images", "classes", "vlm", "pack", "baseline"), text))
    got = json.loads((tmp_path / "got.json").read_text())
    assert got[5:] == [f"--{name}={text}" for name in ("images", "classes", "vlm", "pack", "baseline")] + ["--", text]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("python", ["; touch owned", "$(touch owned)", "a\ntouch owned"])
def test_the_install_step_runs_its_python_and_nothing_else(tmp_path, python) -> None:
    env = {**os.environ, "PYTHON": python, "SOURCE": "$(touch owned); touch owned"}
    done = subprocess.run(["bash", "-e", "-c", INSTALL["run"]], env=env, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 127
    assert not (tmp_path / "owned").exists()


def test_an_output_name_cannot_write_outputs_of_its_own(tmp_path) -> None:
    done, outputs = run(tmp_path, model="builtin:clean", output="x\nverdict=pass")
    assert (done.returncode, outputs) == (2, {})


def test_the_hook_takes_several_onnx_files_a_call() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert (hook["id"], hook["files"]) == ("singaudit-inspect", r"\.onnx$")
    assert hook["entry"].split()[:2] == ["singaudit", "inspect"]
    assert hook.get("pass_filenames", True)


def test_several_models_are_one_array_and_the_worst_decides(tmp_path, models) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    done = subprocess.run(
        [sys.executable, "-m", "singaudit", "inspect", str(models / "clean.onnx"), str(broken), "--format", "json",
         "--progress", "none"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    good, bad = json.loads(done.stdout)
    assert good["name"] == "clean.onnx"
    assert bad["model"] == str(broken)
    assert bad["error"]["message"]


def test_the_image_runs_without_rights_from_this_folder() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(lines)
    assert re.search(r"^USER (?!root)\w+$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["singaudit"]' in lines
    for line in lines:
        if line.startswith("COPY "):
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
