"""Earlier results, and packs, that are cut, edited, endless, or not what they say; folders that must not be written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile import Case, typed

from singaudit.report.result.audit import AuditResult
from singaudit.report.result.checksum import content_checksum
from singaudit.report.result.store import canonical_json

MODEL = "builtin:leaky"


def good() -> dict:
    """A small result, as the command line writes it."""
    from singaudit import AuditConfig, audit

    return json.loads(canonical_json(audit(AuditConfig(model=MODEL)).result))


_GOOD: list[dict] = []


def stored(change: Callable[[dict], object] = lambda r: None, seal: bool = False) -> Callable[[Path], Sequence[str]]:
    """``report`` of a result that was changed, with a checksum that fits if ``seal``."""

    def make(folder: Path) -> Sequence[str]:
        if not _GOOD:
            _GOOD.append(good())
        result = json.loads(json.dumps(_GOOD[0]))
        change(result)
        if seal:
            result["checksum"] = content_checksum(AuditResult.model_validate(result))
        (folder / "result.json").write_text(json.dumps(result))
        return ["report", "result.json", "--report", "html,json"]

    return make


def text(content: str | bytes) -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        (folder / "result.json").write_bytes(content.encode() if isinstance(content, str) else content)
        return ["report", "result.json", "--report", "html,json"]

    return make


def raw(change: Callable[[str], str]) -> Callable[[Path], Sequence[str]]:
    """The text of a sound result, changed."""

    def make(folder: Path) -> Sequence[str]:
        words = stored()(folder)
        path = folder / "result.json"
        path.write_text(change(path.read_text()))
        return words

    return make


def place(kind: str) -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        path = folder / "result.json"
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "loop":
            path.symlink_to("result.json")
        elif kind == "sparse":
            with path.open("wb") as file:
                file.truncate(2**33)
        return ["report", "result.json"]

    return make


def into(prepare: Callable[[Path], object], output: str = "out", *more: str) -> Callable[[Path], Sequence[str]]:
    """A geometry-only audit into a place that was prepared."""

    def make(folder: Path) -> Sequence[str]:
        prepare(folder)
        return ["run", MODEL, "--report", "json", "--progress", "none", "-o", output, *more]

    return make


def files(**contents: str) -> Callable[[Path], object]:
    def prepare(folder: Path) -> None:
        for name, content in contents.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return prepare


def _linked(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "out").symlink_to("real")


def _linked_file(folder: Path) -> None:
    files(out__run_dot_json='{"tool": "singaudit"}', thesis="years")(folder)
    (folder / "out" / "result.json").symlink_to(folder / "thesis")


def _dangling(folder: Path) -> None:
    (folder / "out").symlink_to("nowhere")


def _fifo(folder: Path) -> None:
    os.mkfifo(folder / "out")


EDITED = "changed after it was written"
RESULTS = [
    Case("no such result", typed("report", "none.json"), "none.json"),
    Case("an empty result", text(""), "JSON"),
    Case("a result that is a list", text("[]"), "schema_version"),
    Case("a result that is a text", text('"result"'), "schema_version"),
    Case("a result that is null", text("null"), "schema_version"),
    Case("an HTML page as a result", text("<html>"), "JSON"),
    Case("binary as a result", text(b"\xff\xfe\x00\x01"), "JSON"),
    Case("UTF-16 as a result", text('{"schema_version": "1.0"}'.encode("utf-16")), ("JSON", "fit the schema")),
    Case("half a result", raw(lambda t: t[: len(t) // 2]), "JSON"),
    Case("a result without its last brace", raw(lambda t: t[:-1]), "JSON"),
    Case("two results in one file", raw(lambda t: t + t), "JSON"),
    Case("a result of a newer schema", stored(lambda r: r.update(schema_version="2.0")), "schema '2.0'"),
    Case("a schema that is a number", stored(lambda r: r.update(schema_version=1)), "schema_version"),
    Case("a schema of megabytes", stored(lambda r: r.update(schema_version="9" * 2**21)), "schema"),
    Case("a result with an edited number", stored(lambda r: r["geometry"].update(null_dim=3)), EDITED),
    Case("a result with an edited verdict", stored(lambda r: r["verdict"].update(status="pass")), EDITED),
    Case("a result with a reason taken out", stored(lambda r: r["verdict"].update(reasons=[])), EDITED),
    Case("a result without checksum", stored(lambda r: r.pop("checksum")), EDITED),
    Case("a result with an empty checksum", stored(lambda r: r.update(checksum="")), EDITED),
    Case("a result with a wrong checksum", stored(lambda r: r.update(checksum="0" * 64)), EDITED),
    Case("a checksum that is a number", stored(lambda r: r.update(checksum=7)), "checksum"),
    Case("a result with a key too many", stored(lambda r: r.update(code="import os")), "code"),
    Case("a result without its model", stored(lambda r: r.pop("model")), "model"),
    Case("a result with a text for a number", stored(lambda r: r["geometry"].update(rank="many")), "rank"),
    Case("a result with a list for an object", stored(lambda r: r.update(geometry=[])), "geometry"),
    Case("a result with NaN", raw(lambda t: t.replace('"rank": 8', '"rank": NaN')), "NaN"),
    Case("a result with infinity", raw(lambda t: t.replace('"rank": 8', '"rank": Infinity')), "Infinity"),
    Case("a result with 1e999", raw(lambda t: t.replace('"tolerance": ', '"tolerance": 1e999, "x": ', 1)), ""),
    Case("a result with 5,000 digits", raw(lambda t: t.replace('"rank": 8', '"rank": ' + "9" * 5000)), ""),
    Case("a result with a key twice", raw(lambda t: '{"checksum": "", ' + t[1:]), "twice"),
    Case("a result with a deep key twice", raw(lambda t: t.replace('"rank": 8', '"rank": 8, "rank": 9')), "twice"),
    Case("a result 100,000 levels deep", text('{"schema_version": "1.0", "a": ' + "[" * 100_000), "levels deep"),
    Case("a result 41 levels deep", text('{"schema_version": "1.0", "a": ' + "[" * 41 + "]" * 41 + "}"), "levels deep"),
    Case("a name of megabytes", stored(lambda r: r["model"].update(name="x" * 2**21)), "name"),
    Case("a folder as a result", place("folder"), "not a file"),
    Case("a FIFO as a result", place("fifo"), "not a file"),
    Case("a link to itself as a result", place("loop"), ("not a file", "cannot")),
    Case("eight gibibytes as a result", place("sparse"), "larger"),
    Case("a device as a result", typed("report", "/dev/zero"), "not a file"),
    Case("a result with a zero byte in its name", typed("report", "a\0b"), ("zero byte", "not a file")),
]
OUTPUTS = [
    Case("an output folder with a thesis", into(files(out__thesis_dot_txt="years")), "thesis.txt"),
    Case("an output folder with a hidden file", into(files(out___dot_git="ref")), ".git"),
    Case("a foreign run.json", into(files(out__run_dot_json='{"tool": "another"}')), "run.json"),
    Case("a run.json that is deep", into(files(out__run_dot_json="[" * 100_000)), "run.json"),
    Case(
        "an audit's folder with a thesis",
        into(files(out__run_dot_json='{"tool": "singaudit"}', out__thesis="x")),
        "thesis",
    ),
    Case("an output folder that is a link", into(_linked), "link"),
    Case("an output folder that is a link to nothing", into(_dangling), "link"),
    Case("a result that is a link out of the folder", into(_linked_file), "result.json"),
    Case("an output folder that is a file", into(files(out="years")), "file"),
    Case("an output folder below a file", into(files(out="years"), "out/deep"), ("file", "folder")),
    Case("an output folder that is a FIFO", into(_fifo), ("file", "folder")),
    Case("an output folder that is a device", into(lambda f: None, "/dev/null"), ("file", "folder")),
    Case("an output folder below a device", into(lambda f: None, "/dev/null/x"), ("file", "folder")),
    Case("a folder of the kernel", into(lambda f: None, "/proc/singaudit"), ("/proc", "folder")),
    Case("an output folder without a name", into(files(thesis="years"), ""), ("thesis", "folder")),
    Case("an output folder of 5,000 letters", into(lambda f: None, "x" * 5000), "x"),
    Case("an output folder with a zero byte", into(lambda f: None, "a\0b"), ("zero byte", "folder")),
    Case("the folder one is in", into(files(thesis="years"), "."), "thesis"),
    Case("a report into the folder of another's", lambda f: [*_both(f)], "thesis"),
    Case("a pack over a thesis", lambda f: [*_packed(f, "thesis")], "thesis"),
    Case("a pack over a folder", lambda f: [*_packed(f, ".")], "folder"),
    Case("a pack into a folder that is not there", lambda f: [*_packed(f, "no/x.pack")], "folder"),
    Case("a demo over a thesis", lambda f: [*_demo(f)], "thesis"),
]


def _both(folder: Path) -> Sequence[str]:
    files(out__thesis="years")(folder)
    return [*stored()(folder), "-o", "out"]


def _packed(folder: Path, output: str) -> Sequence[str]:
    files(thesis="years")(folder)
    return ["pack", "--images", "shapes:8", "--vlm", "builtin:shapes", "-o", output, "--progress", "none"]


def _demo(folder: Path) -> Sequence[str]:
    files(out__thesis="years")(folder)
    return ["demo", "-o", "out"]


CASES = [*RESULTS, *OUTPUTS]
