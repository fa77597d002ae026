"""What is built is what is used: sdist and wheel hold everything, and work from any folder without the repository."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel), the wheel made from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
        text=True,
    )
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def test_wheel_holds_templates_models_and_types(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    for path in (ROOT / "templates").rglob("*"):
        if path.is_file():
            assert f"singaudit/templates/{path.relative_to(ROOT / 'templates').as_posix()}" in names
    assert {"singaudit/py.typed", "singaudit/demo/models/leaky.onnx", "singaudit/language/vocabulary.toml"} <= names
    assert not [n for n in names if n.startswith(("tests/", "examples/"))]
    assert built[1].stat().st_size < 10 * 2**20


def test_sdist_holds_what_tests_and_examples_need(built):
    with tarfile.open(built[0]) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    assert {
        "templates/report.html.j2",
        "tests/cli/test_main.py",
        "examples/python_api.py",
        "LICENSE",
        "Makefile",
    } <= names


def test_the_embedded_language_model_is_at_most_five_megabytes():
    folder = ROOT / "singaudit" / "demo" / "models"
    assert sum(p.stat().st_size for p in (folder / "clip-shapes").rglob("*")) <= 5 * 2**20
    assert all(p.stat().st_size <= 1.5 * 2**20 for p in folder.glob("*.onnx"))


def test_an_installed_wheel_audits_and_renders_outside_the_repository(built, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    site = next((environment / "lib").glob("python*")) / "site-packages"
    with zipfile.ZipFile(built[1]) as wheel:
        wheel.extractall(site)
    # Dependencies come from the environment the tests run in; the package itself must come from the wheel.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    work = tmp_path / "elsewhere"
    work.mkdir()
    env = {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "HF_HUB_OFFLINE": "1"}

    def call(*arguments):
        return subprocess.run(
            [python, *arguments], cwd=work, env=env, capture_output=True, text=True, timeout=240, check=False
        )

    where = call("-c", "import singaudit; print(singaudit.__file__)")
    assert where.stdout.startswith(str(site)), where.stderr
    found = call("-m", "singaudit", "run", "builtin:leaky", "--images", "shapes:60", "--vlm", "builtin:shapes",
                 "--report", "html,json,csv")  # fmt: skip
    assert found.returncode == 4, found.stderr
    assert "<html" in (work / "singaudit-out" / "report.html").read_text()[:500]
