"""Language models in folders that are damaged, lie, or want to run something."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL.Image
from hostile import Case
from model_files import Payload

from singaudit.language.encoders.table import builtin_folder


def model(change: Callable[[Path], object]) -> Callable[[Path], Sequence[str]]:
    """A copy of the built-in language model, changed; one image is packed with it."""

    def make(folder: Path) -> Sequence[str]:
        shutil.copytree(builtin_folder(), folder / "clip")
        (folder / "im").mkdir()
        PIL.Image.new("RGB", (8, 8)).save(folder / "im" / "a.png")
        change(folder / "clip")
        return ["pack", "--images", "im", "--vlm", "clip", "-o", "x.pack", "--progress", "none"]

    return make


def settings(name: str, **values: object) -> Callable[[Path], Sequence[str]]:
    def change(folder: Path) -> None:
        (folder / "processor_config.json").unlink()  # it goes before preprocessor_config.json
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **values}))

    return model(change)


def towers(tower: str, **values: object) -> Callable[[Path], Sequence[str]]:
    """Other numbers in the configuration of one of the two towers."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        content[tower].update(values)
        (folder / "config.json").write_text(json.dumps(content))

    return model(change)


def written(name: str, content: str | bytes) -> Callable[[Path], Sequence[str]]:
    return model(lambda f: (f / name).write_bytes(content.encode() if isinstance(content, str) else content))


def replaced(name: str, make: Callable[[Path], object]) -> Callable[[Path], Sequence[str]]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return model(change)


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))


def _index(target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = folder / "model.safetensors"
        shutil.move(weights, folder.parent / "outside.safetensors")
        shutil.copy(folder.parent / "outside.safetensors", folder / "other.safetensors")
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": {"logit_scale": target}})
        )

    return change


def _code(folder: Path) -> None:
    (folder / "evil.py").write_text("open('ran', 'w').close()\nclass C: pass\n")
    for name, key in (("config.json", "AutoModel"), ("preprocessor_config.json", "AutoImageProcessor")):
        content = json.loads((folder / name).read_text())
        content.update(auto_map={key: "evil.C", "AutoConfig": "evil.C"}, model_type="evil")
        (folder / name).write_text(json.dumps(content))


VLM = ("clip", "vision-language", "language model", "tokenizer")
CASES = [
    Case("a language model with code of its own", model(_code), VLM),
    Case("pickled weights of a language model", model(_pickled), ("safetensors", "pickled")),
    Case("a language model cut short", model(_cut), VLM),
    Case("empty weights of a language model", written("model.safetensors", b""), VLM),
    Case("weights of a language model with a header of an exabyte",
         written("model.safetensors", b"\xff" * 7 + b"\x0f{}"), VLM),
    Case("weights that are a pickle", written("model.safetensors", pickle.dumps(Payload())), VLM),
    Case("a shard index that points outside", model(_index("../outside.safetensors")), VLM),
    Case("a shard index that points to a secret", model(_index("/etc/passwd")), VLM),
    Case("a language model of another family", settings("config.json", model_type="bert"), ("famil", "clip")),
    Case("a language model of no family", settings("config.json", model_type="../../x"), VLM),
    Case("a language model whose family is a list", settings("config.json", model_type=[1]), VLM),
    Case("a configuration that is no JSON", written("config.json", "<html>"), VLM),
    Case("a configuration that is a list", written("config.json", "[]"), VLM),
    Case("a deep configuration", written("config.json", '{"a":' + "[" * 100_000), VLM),
    Case("a language model of other shapes", settings("config.json", projection_dim=7), VLM),
    Case("a language model of negative width", settings("config.json", projection_dim=-1), VLM),
    Case("a language model of 2**40 columns", settings("config.json", projection_dim=2**40), VLM),
    Case("a language model of 2**63 layers", towers("vision_config", num_hidden_layers=2**63), "num_hidden_layers"),
    Case("a language model of more layers than tensors", towers("text_config", num_hidden_layers=300), "300"),
    Case("a language model of eight million words", towers("text_config", vocab_size=2**23), "weights"),
    Case("a language model of four million columns", towers("vision_config", hidden_size=2**22), "weights"),
    Case("a language model of a million pixels a side", towers("vision_config", image_size=2**20), "weights"),
    Case("a language model that opens and cannot run", towers("text_config", layer_norm_eps=None), "cannot be run"),
    Case("an image size of 2**20",
         settings("preprocessor_config.json", size={"height": 2**20, "width": 2**20},
                  crop_size={"height": 2**20, "width": 2**20}), VLM),
    Case("a mean that is a text", settings("preprocessor_config.json", image_mean="zero", do_normalize=True), VLM),
    Case("a resampling nobody knows", settings("preprocessor_config.json", resample=99), VLM),
    Case("no tokenizer", replaced("tokenizer.json", lambda p: None), VLM),
    Case("a tokenizer that is no JSON", written("tokenizer.json", "{]"), VLM),
    Case("a deep tokenizer", written("tokenizer.json", '{"a":' + "[" * 100_000), VLM),
    Case("a FIFO as configuration", replaced("config.json", os.mkfifo), "config.json"),
    Case("a FIFO as weights", replaced("model.safetensors", os.mkfifo), ("safetensors", *VLM)),
    Case("a folder as weights", replaced("model.safetensors", lambda p: p.mkdir()), ("safetensors", *VLM)),
    Case("a device as weights", replaced("model.safetensors", lambda p: p.symlink_to("/dev/zero")),
         ("safetensors", *VLM)),
    Case("a FIFO as tokenizer", replaced("tokenizer.json", os.mkfifo), VLM),
    Case("a FIFO as image processor", replaced("preprocessor_config.json", os.mkfifo), "preprocessor_config.json"),
]  # fmt: skip
