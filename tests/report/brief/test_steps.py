"""What to do next, done: the commands of real audits' briefs, typed where the audit ran."""

import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hub_server import serve
from PIL import Image
from safetensors.numpy import load_file, save_file

from singaudit.cli.main import main
from singaudit.dataset.generated.source import ShapesSource
from singaudit.report.brief.make import brief_of
from singaudit.report.brief.model import Brief
from singaudit.report.result.store import load_result

READER = Path(str(resources.files("singaudit") / "demo" / "models" / "clip-shapes"))
WORKED = (0, 1, 4)
"""Exit codes of a command that did its work, whatever came out of it."""
COLOUR = "finding[colour] not in (strong, partial)"
GROUPS = """
[colour]
values = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"]
template = "a {} shape"
[size]
values = ["small", "large"]
template = "a {} shape"
"""
EXAMPLE = Path(__file__).parents[3] / "examples" / "write_arrays.py"


@dataclass
class Place:
    """A folder where somebody audits."""

    folder: Path
    cache: Path

    def type(self, command: str) -> int:
        """A command line in this folder; its exit code."""
        words = shlex.split(command)
        assert words[0] == "singaudit"
        with chdir(self.folder):
            done = CliRunner().invoke(main, words[1:], env={"SINGAUDIT_CACHE": str(self.cache)})
        assert done.exit_code in WORKED, f"{command}\n{done.output}"
        return done.exit_code

    def audit(self, command: str) -> Brief:
        """The brief of an audit typed here."""
        self.type(command)
        return self.brief()

    def brief(self) -> Brief:
        """Of the last audit that was typed."""
        return brief_of(load_result(self.folder / "singaudit-out" / "result.json"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Shared: the audits here see the same images with the same models."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bare(tmp_path, cache):
    """A folder where one format is written, and no picture unless asked for."""
    (tmp_path / "singaudit.toml").write_text('report = ["json"]\nprogress = "none"\ngenerate = 0\n')
    return Place(tmp_path, cache)


@pytest.fixture
def place(bare):
    """The same with two groups in the place of five."""
    (bare.folder / "words.toml").write_text(GROUPS)
    with (bare.folder / "singaudit.toml").open("a") as file:
        file.write('concepts = "words.toml"\n')
    return bare


def write_images(folder: Path, count: int, seed: int = 0, by_class: bool = True) -> list[str]:
    """Generated images as files, in a folder a class or all in one; rows of a table with their labels."""
    source = ShapesSource(count, seed)
    rows = []
    for index in range(count):
        image = source.load(index)
        name = f"{source.labels[index]}/{index:04d}.png" if by_class else f"{index:04d}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.pixels).save(folder / name)
        rows.append(f"{name},{source.labels[index]}")
    return rows


def commands(brief: Brief) -> dict[str, str]:
    """Subcommand -> the first command line of a brief with it."""
    return {step.command.split()[1]: step.command for step in reversed(brief.steps)}


def mark(brief: Brief, name: str) -> str:
    return next(mark.state for mark in brief.marks if mark.name == name)


def test_what_failed_is_compared_with_its_successor(place):
    brief = place.audit(f"singaudit run builtin:leaky --images shapes:1100 --vlm builtin:shapes --gate '{COLOUR}'")
    assert brief.status == "fail"
    seen = place.audit(commands(brief)["run"])
    assert "--toward colour" in commands(brief)["run"]
    assert seen.picture is not None
    command = commands(brief)["compare"]
    assert command.count("NEW_MODEL") == 1
    place.type(command.replace("NEW_MODEL", "builtin:clean"))
    assert (place.folder / "singaudit-compare" / "compare.html").is_file()


def test_a_head_that_loses_classes_is_fitted_anew_and_the_new_file_passes(place):
    brief = place.audit("singaudit run builtin:spurious --images shapes:1100 --vlm builtin:shapes --gate default")
    assert brief.status == "fail"
    assert place.type(commands(brief)["refit"]) == 0
    after = place.audit(
        "singaudit run spurious-refit.onnx --images shapes:1100 --vlm builtin:shapes --gate 'data.class_gain < 0.2'"
    )
    assert after.status == "pass"


def test_without_gates_the_one_proposed_decides(place):
    brief = place.audit("singaudit run builtin:leaky --images shapes:1100 --vlm builtin:shapes")
    assert brief.status == "no gates set"
    (proposed,) = [step.command for step in brief.steps if "--gate" in step.command]
    assert place.audit(proposed).status == "fail"
    (trim,) = [step.command for step in brief.steps if step.command.startswith("singaudit trim")]
    assert place.type(trim) == 0
    assert (place.folder / "leaky-seen.onnx").is_file()


def test_more_images_remove_what_they_were_asked_for(place):
    brief = place.audit("singaudit run builtin:two-class --images shapes:120 --vlm builtin:shapes --gate default")
    assert (mark(brief, "images"), mark(brief, "translator")) == ("red", "red")
    (step,) = brief.steps
    after = place.audit(step.command)
    assert (mark(after, "images"), mark(after, "translator")) == ("ok", "ok")
    assert step.command not in [later.command for later in after.steps]


def test_a_model_alone_is_shown_images(place):
    shutil.copytree(READER, place.folder / "reader")
    write_images(place.folder / "my photos", 120)
    brief = place.audit("singaudit run builtin:leaky --vlm reader")
    (step,) = brief.steps
    assert step.to_fill_in
    assert step.command.split().count("PHOTOS") == 1
    after = place.audit(step.command.replace("PHOTOS", "'my photos'"))
    assert after.marks[1].text.startswith("120")


def test_unlabelled_images_behind_the_translator_remove_its_reason(place):
    shutil.copytree(READER, place.folder / "reader")
    write_images(place.folder / "photos", 320)
    write_images(place.folder / "more", 1100, seed=1, by_class=False)
    brief = place.audit("singaudit run builtin:leaky --images photos --vlm reader --gate default")
    assert (mark(brief, "images"), mark(brief, "translator")) == ("ok", "red")
    (step,) = brief.steps
    assert step.command.endswith("--probe MORE_PHOTOS")
    after = place.audit(step.command.replace("MORE_PHOTOS", "more"))
    assert mark(after, "translator") == "ok"


def test_labels_and_preprocessing_are_stated_in_one_command(place):
    shutil.copytree(READER, place.folder / "reader")
    rows = write_images(place.folder / "photos", 150, by_class=False)
    graph = onnx.load(str(READER.parent / "leaky.onnx"))
    kept = [entry for entry in graph.metadata_props if entry.key != "singaudit.preprocess"]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    onnx.save(graph, str(place.folder / "plain.onnx"))
    brief = place.audit("singaudit run plain.onnx --images photos --vlm reader --gate default")
    assert "preprocessing guessed" in brief.marks[1].text
    assert mark(brief, "language model") == "amber"
    (step,) = brief.steps
    assert "--preprocess" in step.command
    (place.folder / "LABELS.csv").write_text("\n".join(["path,label", *rows]))
    write_images(place.folder / "more", 120, seed=1, by_class=False)
    after = place.audit(step.command.replace("MORE_PHOTOS", "more"))
    assert "preprocessing guessed" not in after.marks[1].text
    assert "names the right class" in after.marks[0].text


def test_arrays_are_written_anew_and_audited(bare):
    example = runpy.run_path(str(EXAMPLE))
    example["write"](bare.folder / "few", *example["made_up"](images=60))
    example["write"](bare.folder / "many", *example["made_up"](images=1100))
    brief = bare.audit(f"singaudit run --arrays few --gate '{COLOUR}'")
    (step,) = brief.steps
    assert step.to_fill_in
    assert bare.audit(step.command.replace("NEW_ARRAYS", "many")).status == "fail"


def test_nothing_is_proposed_where_nothing_can_be_found(place):
    brief = place.audit("singaudit run builtin:no-null-space --images shapes:120 --vlm builtin:shapes --gate default")
    assert brief.status == "inconclusive"
    assert not brief.steps


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
def test_a_shell_takes_a_command_as_it_stands(bare):
    """Names with spaces and quotes, gates with brackets: one line in a real shell."""
    example = runpy.run_path(str(EXAMPLE))
    folder = bare.folder / "it's $HOME (1)"
    example["write"](folder, *example["made_up"](images=60))
    brief = bare.audit(f"singaudit run --arrays {shlex.quote(folder.name)} --gate '{COLOUR}'")
    line = brief.steps[0].command.replace("NEW_ARRAYS", shlex.quote(folder.name))
    script = bare.folder / "bin" / "singaudit"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m singaudit "$@"\n')
    script.chmod(0o755)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=bare.folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in WORKED, done.stderr
    command = json.loads((bare.folder / "singaudit-out" / "result.json").read_text())["reproduce"]["command"]
    words = shlex.split(command)
    assert words[:4] == ["singaudit", "run", "--arrays", folder.name]
    assert words[words.index("--gate") + 1] == COLOUR


def test_another_language_model_reads_what_a_blind_one_does_not(place):
    """The one that is named comes from the hub: a hub of this machine, which holds under its name one that can read."""
    shutil.copytree(READER, place.folder / "blind")
    weights = load_file(place.folder / "blind" / "model.safetensors")
    (name,) = [key for key in weights if key.endswith("text_projection.weight")]
    noise = np.random.default_rng(0).normal(size=weights[name].shape)
    weights[name] = (noise * weights[name].std()).astype(weights[name].dtype)
    save_file(weights, place.folder / "blind" / "model.safetensors", {"format": "pt"})
    brief = place.audit("singaudit run builtin:leaky --images shapes:300 --vlm blind --gate default")
    assert mark(brief, "language model") == "red"
    (step,) = brief.steps
    other = shlex.split(step.command)[shlex.split(step.command).index("--vlm") + 1]
    with serve() as hub:
        hub.add(other, READER)
        done = subprocess.run(
            [sys.executable, "-m", "singaudit", *shlex.split(step.command)[1:]],
            cwd=place.folder,
            env=hub.environment(place.folder / "home", SINGAUDIT_CACHE=str(place.cache)),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode in WORKED, done.stderr
    assert mark(place.brief(), "language model") == "ok"
