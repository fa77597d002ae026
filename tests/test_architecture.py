"""The package reads like the audit runs: imports point forward only, and the public surface is what it says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import singaudit

ROOT = Path(singaudit.__file__).parent
SHARED = ["version", "errors", "machine", "without_compiler", "torchvision_import", "disk", "child", "config"]
STAGES = [
    "cache", "hub", "classifier", "dataset", "engine", "geometry", "language", "metrics", "pictures", "repair",
    "report",
    "pipeline", "demo", "cli",
]  # fmt: skip
ORDER = {name: place for place, name in enumerate(SHARED + STAGES)}
FILES = {path.relative_to(ROOT).with_suffix("").parts: path for path in ROOT.rglob("*.py")}
# The public API and ``python -m singaudit`` stand after everything: nothing imports them.
OUTSIDE = {("__init__",), ("__main__",)}
# One list of operators, and one of measures: folders whose files are all of one kind.
LONG = {"classifier/shadow/operators", "cli/commands", "metrics"}


def imported(source, module):
    """Modules and names that a file imports from the package, as parts, at any depth, relative ones and typing's too.

    ``module``: the parts of the importing module.
    """
    package = ["singaudit", *module[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module_name = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module_name}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (tuple(name.split(".")[1:]) for name in names if name.split(".")[0] == "singaudit")


def backward(module, source):
    """What a module imports that stands after it in the order of an audit, or outside of it."""
    place = ORDER[module[0]]
    used = {name[0] if name else "singaudit" for name in imported(source, module)}
    return sorted(name for name in used if name not in ORDER or ORDER[name] > place)


def targets(name):
    """The modules among the parts of an imported name."""
    return {name[:k] for k in range(1, len(name) + 1)} & set(FILES)


def test_every_module_stands_in_the_order_of_an_audit():
    assert {parts[0] for parts in set(FILES) - OUTSIDE} == set(ORDER)


@pytest.mark.parametrize("module", sorted(set(FILES) - OUTSIDE), ids="/".join)
def test_a_module_imports_only_its_own_stage_and_what_stands_before_it(module):
    found = backward(module, FILES[module].read_text(encoding="utf-8"))
    assert not found, f"{'.'.join(module)} points back or past: {found}"


@pytest.mark.parametrize(
    "line",
    [
        "from singaudit.pipeline.certificate import certified",
        "from singaudit.pipeline import decoding",
        "import singaudit.pipeline.audit",
        "from singaudit import audit",
        "from ..pipeline import observe",
        "def late():\n    from singaudit.pipeline.context import AuditContext",
    ],
)
def test_an_import_of_the_pipeline_in_a_stage_would_be_found(line):
    source = FILES["geometry", "null_space"].read_text(encoding="utf-8")
    assert not backward(("geometry", "null_space"), source)
    assert backward(("geometry", "null_space"), f"{source}\n{line}\n")


def test_errors_and_version_import_nothing_of_the_package():
    for name in ("errors", "version"):
        assert not set(imported(FILES[name,].read_text(encoding="utf-8"), (name,)))


def test_only_the_pipeline_knows_every_stage_and_only_the_edge_knows_the_pipeline():
    users = {m[0] for m, path in FILES.items() for n in imported(path.read_text("utf-8"), m) if n[:1] == ("pipeline",)}
    assert users <= {"__init__", "pipeline", "demo", "cli"}


def test_no_cycles_anywhere():
    graph = {
        module: {t for name in imported(path.read_text("utf-8"), module) for t in targets(name)} - {module}
        for module, path in FILES.items()
        if module[-1] != "__init__"
    }
    done = set()

    def visit(module, trail):
        assert module not in trail, f"cycle: {[*trail, module]}"
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])


def test_folders_hold_a_docstring_and_no_names_of_their_own():
    for module, path in FILES.items():
        if module[-1] == "__init__" and module not in OUTSIDE:
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path


def test_folders_are_small_enough_to_be_read_as_a_list():
    folders = {}
    for module in set(FILES):
        if module[-1] != "__init__":
            folders.setdefault("/".join(module[:-1]), []).append(module)
    assert len(folders.pop("")) <= 9
    long = {name: len(files) for name, files in folders.items() if len(files) > 16 and name not in LONG}
    assert not long


def test_nothing_is_called_utils():
    assert not [module for module in FILES if module[-1] in ("utils", "helpers", "common", "util", "misc")]


def test_public_names_resolve_and_importing_the_package_is_light():
    for name in singaudit.__all__:
        assert getattr(singaudit, name) is not None
    heavy = "torch", "transformers", "onnxruntime", "weasyprint", "altair", "pydantic"
    code = f"import sys, singaudit, singaudit.cli.main; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_does_not_import_anything_heavy():
    code = (
        "import sys\nfrom singaudit.cli.main import main\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "heavy = 'torch', 'transformers', 'onnxruntime', 'weasyprint', 'numpy', 'rich'\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip().endswith("[]")
