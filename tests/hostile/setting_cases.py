"""Options, variables, configuration files and text files that are wrong, huge, or want to be more than text."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import PIL.Image
from hostile import Case, typed

EIGHT = "a,b,c,d,e,f,g,h"
LEAKY = ("run", "builtin:leaky", "--report", "json", "--progress", "none")


def configured(text: str | bytes, *more: str, name: str = "singaudit.toml") -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        return [*LEAKY, *more]

    return make


def file_of(option: str, content: str | bytes, name: str = "f.txt", *more: str) -> Callable[[Path], Sequence[str]]:
    """``option`` names a file with this content; images are there, so that it is read."""

    def make(folder: Path) -> Sequence[str]:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return [*LEAKY, "--images", "shapes:8", "--vlm", "builtin:shapes", option, name, *more]

    return make


def place_of(option: str, kind: str, *more: str) -> Callable[[Path], Sequence[str]]:
    """``option`` names something that is no file."""

    def make(folder: Path) -> Sequence[str]:
        path = folder / "f.toml"
        {
            "a folder": path.mkdir,
            "a FIFO": lambda: os.mkfifo(path),
            "a link to itself": lambda: path.symlink_to("f.toml"),
            "nothing": lambda: None,
        }[kind]()
        return [*LEAKY, "--images", "shapes:8", "--vlm", "builtin:shapes", option, "f.toml", *more]

    return make


def images(*words: str) -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        (folder / "im").mkdir()
        PIL.Image.new("RGB", (8, 8)).save(folder / "im" / "a.png")
        return [*LEAKY, *words]

    return make


def option(*words: str) -> Callable[[Path], Sequence[str]]:
    return typed(*LEAKY, *words)


def preprocess(text: str) -> Case:
    return Case(f"preprocessing {text[:40]!r}", option("--preprocess", text), "preprocess")


def gate(text: str) -> Case:
    return Case(f"a gate {text[:40]!r}", option("--gate", text), ("gate", "names nothing", "rule"))


PLACES = ("a folder", "a FIFO", "a link to itself", "nothing")
CASES = [
    # Configuration files.
    Case("an unknown key", configured("imges = 'x'"), "'images'"),
    Case("an unknown key that is code", configured("__import__ = 'os'"), "unknown key"),
    Case("a number in a text's place", configured("images = 7"), "a text"),
    Case("a truth value in a text's place", configured("vlm = true"), "a text"),
    Case("a text in a number's place", configured("limit = 'ten'"), "a whole number"),
    Case("a truth value in a number's place", configured("seed = true"), "a whole number"),
    Case("a fraction in a whole number's place", configured("batch-size = 2.5"), "a whole number"),
    Case("NaN for a whole number", configured("limit = nan"), "a whole number"),
    Case("infinity for a whole number", configured("seed = inf"), "a whole number"),
    Case("NaN for a number", configured("model-seconds = nan"), "a number"),
    Case("a negative limit", configured("limit = -1"), "limit"),
    Case("a seed of 5,000 digits", configured("seed = " + "9" * 5000), "TOML"),
    Case("a batch of 10**30", configured("batch-size = 1" + "0" * 30), "batch"),
    Case("a date in a text's place", configured("images = 2020-01-01"), "expected a text"),
    Case("a table in a text's place", configured("[images]\na = 1"), "expected a text"),
    Case("a list of tables", configured("[[images]]\na = 1"), "expected a text"),
    Case("gates of numbers", configured("gates = [1, 2]"), "a text each"),
    Case("a choice that is none", configured("progress = 'fancy'"), "progress"),
    Case("formats that are a number", configured("report = 7", "--images", "shapes:8"), ("a text", "report")),
    Case("a key twice", configured("seed = 1\nseed = 2"), "TOML"),
    Case("no TOML", configured("<html>"), "TOML"),
    Case("binary", configured(b"\xff\xfe\x00\x01"), "TOML"),
    Case("a zero byte", configured("images = 'a\0b'"), "TOML"),
    Case("lists in lists in lists", configured("images = " + "[" * 5000 + "]" * 5000), ("TOML", "expected a text")),
    Case("two megabytes of configuration", configured("# " + "x" * 2**21), "at most"),
    Case("tool that is no table", configured("tool = 3", name="pyproject.toml"), "table"),
    Case("tool.singaudit that is no table", configured("[tool]\nsingaudit = 3", name="pyproject.toml"), "table"),
    *[Case(f"{kind} as configuration", place_of("--config", kind), "TOML") for kind in PLACES],
    # Variables.
    Case("a seed in words", option(), "seed", variables=(("SINGAUDIT_SEED", "seven"),)),
    Case("a negative limit in a variable", option(), "limit", variables=(("SINGAUDIT_LIMIT", "-5"),)),
    Case("a device that is a command", option(), "device", variables=(("SINGAUDIT_DEVICE", "cuda; rm -rf /"),)),
    # Options.
    Case("an option that moves the cursor", option("--\x1b[2J\u202ex"), "no such option"),
    Case("a command that moves the cursor", typed("\x1b[2J\u202erun"), "no such command"),
    Case("a command of a million letters", typed("x" * 10**6), "no such command"),
    Case("a value that moves the cursor", option("--seed", "\x1b[2J\u202e"), "seed"),
    Case("a negative seed", option("--seed", "-1"), "seed"),
    Case("a seed of 5,000 digits as an option", option("--seed", "9" * 5000), "seed"),
    Case("no images at all", option("--limit", "0"), "limit"),
    Case("a batch of nothing", option("--batch-size", "0"), "batch"),
    Case("a batch of a trillion", option("--batch-size", "1000000000000"), "batch"),
    Case("a device that does not exist", option("--device", "tpu"), "device"),
    Case("a GPU of number 10**20", option("--device", "cuda:100000000000000000000", "--images", "shapes:8"), "cuda"),
    Case("NaN seconds", option("--model-seconds", "nan"), ("model-seconds", "model_seconds")),
    Case("infinite memory", option("--model-memory", "inf"), ("model-memory", "model_memory", "finite")),
    Case("a format that is none", option("--report", "docx"), "docx"),
    Case("a format that is a path", option("--report", "../../x"), "expected --report"),
    *[preprocess(text) for text in (
        "size=nan", "size=0", "size=-1", "size=99999999999", "size=64x64x64", "size=²", "std=0", "std=nan", "mean=inf",
        "mean=1/2", "mean=0.1/0.2/0.3/0.4", "crop=0", "crop=99", "scale=1/0", "scale=1e400", "scale=0", "mode=fancy",
        "channels=cmyk", "layout=hwcn", "interpolation=magic", "nonsense=1", "size=64,size=64", "size", "=",
        "size=64=64",
        "mean=__import__('os')", "x" * 10000,
    )],
    *[gate(text) for text in (
        "", "scores <", "scores.attribute_score_deg < nan", "scores.attribute_score_deg < inf",
        "scores.attribute_score_deg < 1e999", "__import__('os').system('touch ran')", "().__class__.__bases__ < 1",
        "scores.__class__ < 1", "model.name < 3", "class[nobody].attribute_score_deg < 1", "finding[colour] in ()",
        "finding[colour] not in (strong", "scores.attribute_score_deg < 3 and 1 < 2", "(" * 3000, "x" * 100_000,
        "scores.attribute_score_deg < 1\0", "{{ 7 * 7 }} < 1", "\u202e3 > ged_erocs",
    )],
    # Class names.
    Case("a class twice", option("--classes", "a,a,c,d,e,f,g,h"), "more than once"),
    Case("a class twice in two normal forms", option("--classes", "\u00e9,e\u0301,c,d,e,f,g,h"), "more than once"),
    Case("an empty class", option("--classes", "a,,c,d,e,f,g,h"), "is empty"),
    Case("too many classes", option("--classes", EIGHT + ",i"), "8 class names"),
    Case("a class name of a million letters", option("--classes", "a" * 10**6 + ",b,c,d,e,f,g,h"), "characters"),
    Case("no file of classes", option("--classes", "/nowhere/names.txt"), "no file"),
    Case("a binary file of classes", file_of("--classes", b"\xff\xfe\x00"), "UTF-8"),
    Case("an empty file of classes", file_of("--classes", b""), "class name"),
    Case("a file of too few classes", file_of("--classes", "a\nb\n"), "8 class names"),
    # Concepts.
    *[Case(f"{kind} as concepts", place_of("--concepts", kind), "concepts") for kind in PLACES],
    Case("an empty file of concepts", file_of("--concepts", "\n \n"), "found none"),
    Case("binary concepts", file_of("--concepts", b"\xff\xfe\x00\xd8"), "UTF-8"),
    Case("a million concepts", file_of("--concepts", "\n".join(map(str, range(10**5)))), "at most"),
    Case("concepts of megabytes", file_of("--concepts", "x" * 2**23), "at most"),
    Case("concepts that are no TOML", file_of("--concepts", "[colour\n", "c.toml"), "TOML"),
    Case("a group of 5,000 digits", file_of("--concepts", "x = " + "9" * 5000, "c.toml"), "TOML"),
    Case("a group of deep lists", file_of("--concepts", "x = " + "[" * 4000, "c.toml"), "TOML"),
    Case("a group of numbers", file_of("--concepts", "[x]\nvalues = [1, 2]", "c.toml"), "texts"),
    Case("a group of one", file_of("--concepts", "[x]\nvalues = ['a']", "c.toml"), "two different"),
    Case("a group with a value twice", file_of("--concepts", "[x]\nvalues = ['a', 'a ']", "c.toml"), "two different"),
    Case("a group with code", file_of("--concepts", "[x]\nvalues = ['a', 'b']\nrun = 'rm'", "c.toml"), "only values"),
    Case("a group named class", file_of("--concepts", "[class]\nvalues = ['a', 'b']", "c.toml"), "class"),
    Case("a template without a place", file_of("--concepts", "[x]\nvalues=['a','b']\ntemplate='y'", "c.toml"), "{}"),
    Case("a template that reaches inside",
         file_of("--concepts", "[x]\nvalues=['a','b']\ntemplate='{0.__class__}'", "c.toml"), "{}"),
    Case("a template that is a number", file_of("--concepts", "[x]\nvalues=['a','b']\ntemplate=3", "c.toml"), "{}"),
    # Labels and images.
    *[Case(f"{kind} as labels", place_of("--labels", kind), "label") for kind in PLACES],
    Case("labels without columns", file_of("--labels", "a,b\n1,2\n"), "path,label"),
    Case("labels of nobody's images", file_of("--labels", "path,label\nx.png,star\n"), "none of its"),
    Case("binary labels", file_of("--labels", b"path,label\n\xff\xfe,\x00\n"), ("UTF-8", "label")),
    Case("empty labels", file_of("--labels", b""), "path,label"),
    Case("a label of megabytes", file_of("--labels", "path,label\nx.png," + "y" * 2**20 + "\n"), "label"),
    Case("labels with an open quote", file_of("--labels", 'path,label\n"x.png,star\n' * 9), "label"),
    Case("images that are not there", option("--images", "nowhere"), "nowhere"),
    Case("images in a home that nobody has", option("--images", "~nobody-of-that-name/x"), "nobody"),
    Case("images with a zero byte", option("--images", "a\0b"), ("zero byte", "there is no")),
    Case("images of 5,000 letters", option("--images", "x" * 5000), "x"),
    Case("images at an address", option("--images", "https://example.org/photos"), "https"),
    Case("images at a file address", option("--images", "file:///etc"), "file:"),
    Case("images in a device", option("--images", "/dev/zero"), "/dev/zero"),
    Case("a file in a folder's place", images("--images", "im/a.png"), "a.png"),
    *[Case(f"{text!r} as images", option("--images", text), "shapes")
      for text in ("shapes:", "shapes:-1", "shapes:0", "shapes:1e9", "shapes:99999999999999", "shapes:²", "shapes:9:x",
                   "shapes:9:9:9", "shapes:9;rm")],
    # Language models.
    Case("a language model that is nowhere", images("--images", "im", "--vlm", "no/such-model"), "no/such-model"),
    Case("a language model with dots", images("--images", "im", "--vlm", "../../etc"), "etc"),
    Case("a file as a language model", images("--images", "im", "--vlm", "im/a.png"), "a.png"),
    Case("an empty folder as a language model", images("--images", "im", "--vlm", "im"), "config.json"),
    Case("an unknown built-in language model", images("--images", "im", "--vlm", "builtin:none"), "builtin:none"),
    Case("a pack that is none", images("--pack", "im/a.png"), "pack"),
    Case("a folder as a pack", images("--pack", "im"), "pack"),
    Case("a cache that is a file", images("--images", "im", "--vlm", "builtin:shapes", "--cache", "im/a.png"), "cache"),
]  # fmt: skip
