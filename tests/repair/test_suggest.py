"""The command that a finding asks for, with the audit's own paths."""

import shlex

import pytest

from singaudit.cli.main import main
from singaudit.repair.suggest import again, refit_command, trim_command

WORDS = shlex.split(
    "singaudit run 'my models/a b.onnx' --classes dog,cat --images photos/ --labels labels.csv --vlm clip --allow-code "
    "--gate 'finding[colour] not in (strong)' --seed 3"
)


def test_the_audits_own_paths_are_kept_and_the_rest_is_not():
    command = shlex.split(refit_command(WORDS, ["colour", "class", "a,b"]))
    assert command[:3] == ["singaudit", "refit", "my models/a b.onnx"]
    assert command[-4:] == ["--balance", "class,colour", "-o", "a b-refit.onnx"]
    assert command[command.index("--vlm") + 1] == "clip"
    assert "--vlm" in shlex.split(refit_command(WORDS))  # by which findings are told
    assert "--vlm" not in shlex.split(trim_command(WORDS))
    assert "--gate" not in command
    assert command[command.index("--labels") + 1] == "labels.csv"
    assert shlex.split(trim_command(WORDS))[-1] == "a b-seen.onnx"


@pytest.mark.parametrize("made", [refit_command(WORDS, ["colour"]), trim_command(WORDS)])
def test_it_can_be_typed(made):
    words = shlex.split(made)
    main.commands[words[1]].make_context(words[1], words[2:])


def test_a_repair_says_how_it_is_run_again():
    words = shlex.split(
        "singaudit run m.onnx --images photos --label-column species --units video --vlm clip --limit 9"
    )
    assert again(words, "trim", ["-o", "a b.onnx"]) == (
        "singaudit trim m.onnx --images photos --label-column species --units video --limit 9 -o 'a b.onnx'"
    )
    made = again(words, "refit", ["--vlm", "other", "-o", "n.onnx"])
    assert made.count("--vlm") == 1
    main.commands["refit"].make_context("refit", shlex.split(made)[2:])


def test_without_images_there_is_nothing_to_fit_on():
    words = ["singaudit", "run", "builtin:leaky"]
    assert refit_command(words) is None
    assert shlex.split(trim_command(words)) == ["singaudit", "trim", "builtin:leaky", "-o", "leaky-seen.onnx"]


@pytest.mark.parametrize("model", ["timm:resnet18", "hf:org/name", "-x/.onnx", "folder/", "a\\b.pt"])
def test_every_name_gives_a_file_name(model):
    name = shlex.split(trim_command(["singaudit", "run", model]))[-1]
    assert "/" not in name
    assert not name.startswith("-")
