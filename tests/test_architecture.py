"""The package reads like the audit runs: imports point forward only, and the public surface is what it says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import singaudit

ROOT = Path(singaudit.__file__).parent
STAGES = ["hub", "classifier", "dataset", "engine", "geometry", "language", "metrics", "pictures", "report", "demo"]
SHARED = {"config", "devices", "errors", "torchvision_import"}
EDGE = {
    "cli", "command", "options", "outcome", "commands", "inspection", "doctor", "terminal", "settings", "pipeline",
    "looking", "picturing", "facts",
}  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def imports(path):
    """Absolute module names a file imports from the package, at any depth, for typing included."""
    package = ["singaudit", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def inner(path):
    return {tuple(name.split(".")[1:]) for name in imports(path) if name.startswith("singaudit.")}


@pytest.mark.parametrize("path", [p for p in FILES if p.relative_to(ROOT).parts[0] in STAGES], ids=str)
def test_a_stage_imports_only_itself_and_stages_before_it(path):
    stage = path.relative_to(ROOT).parts[0]
    allowed = set(STAGES[: STAGES.index(stage) + 1]) | SHARED
    used = {name[0] for name in inner(path)} & (set(STAGES) | SHARED | EDGE)
    assert used <= allowed, f"{path.name} points back or past: {sorted(used - allowed)}"


def test_errors_import_nothing_of_the_package():
    assert not inner(ROOT / "errors.py")


def test_only_the_edge_imports_the_pipeline():
    users = {p.relative_to(ROOT).parts[0] for p in FILES if ("pipeline",) in {n[:1] for n in inner(p)}}
    assert users <= {"__init__.py", "cli.py", "commands", "inspection.py"}


def test_no_cycles_within_a_stage():
    for stage in STAGES:
        files = {
            p.relative_to(ROOT).with_suffix("").parts: p for p in (ROOT / stage).rglob("*.py") if p.stem != "__init__"
        }
        graph = {
            name: {n[:k] for n in inner(p) for k in range(2, len(n) + 1)} & set(files) - {name}
            for name, p in files.items()
        }
        done, path = set(), []

        def visit(name, graph=graph, done=done, path=path):
            assert name not in path, f"cycle: {[*path, name]}"
            if name in done:
                return
            path.append(name)
            for other in sorted(graph[name]):
                visit(other)
            path.pop()
            done.add(name)

        for name in graph:
            visit(name)


def test_stage_packages_hold_a_docstring_and_nothing_else():
    for path in FILES:
        if path.name == "__init__.py" and path.parent != ROOT:
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path


def test_nothing_is_called_utils():
    assert not [p for p in FILES if p.stem in ("utils", "helpers", "common", "util", "misc")]


def test_public_names_resolve_and_importing_the_package_is_light():
    for name in singaudit.__all__:
        assert getattr(singaudit, name) is not None
    heavy = "torch", "transformers", "onnxruntime", "weasyprint", "altair", "pydantic"
    code = f"import sys, singaudit, singaudit.cli; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_does_not_import_anything_heavy():
    code = (
        "import sys\nfrom singaudit.cli import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "heavy = 'torch', 'transformers', 'onnxruntime', 'weasyprint', 'numpy', 'rich'\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("[]")
