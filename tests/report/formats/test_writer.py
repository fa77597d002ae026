import csv
import errno
import json
import os
import re

import pytest
from killed import killed_before_move
from report_factory import HOSTILE, full, geometry_only

from singaudit.errors import MachineError, ReportError
from singaudit.report.formats import atomic
from singaudit.report.formats.csv import scores_csv
from singaudit.report.formats.folder import check_output_folder
from singaudit.report.formats.writer import write_page, write_report
from singaudit.report.result.audit import SCHEMA_VERSION
from singaudit.report.result.checksum import checksum_of, sealed
from singaudit.report.result.store import canonical_json, load_result

ROWS = {"image": ["a.png", "=1+1"], "image_score_deg": [1.5, -2.25]}
ALL = ("html", "json", "csv")


def write(folder, result=None, **options):
    options = {"formats": ALL, "run_info": {"seconds": 1.0}, **options}
    return write_report(result or geometry_only(), ROWS, folder, **options)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_files_are_written_and_read_back(tmp_path) -> None:
    paths = write(tmp_path / "out", full(HOSTILE))
    assert sorted(p.name for p in paths) == names(tmp_path / "out")
    assert names(tmp_path / "out") == ["report.html", "result.json", "run.json", "scores.csv"]
    assert load_result(tmp_path / "out" / "result.json") == sealed(full(HOSTILE))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["seconds"] == 1.0


def test_result_is_the_same_bytes_every_time(tmp_path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, full(), run_info={"seconds": 1 if name == "a" else 2})
    for name in ("result.json", "report.html", "scores.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_earlier_audit_is_replaced_whole(tmp_path) -> None:
    out = tmp_path / "out"
    write(out)
    write(out, full(), formats=("json",))
    assert names(out) == ["result.json", "run.json"]
    assert load_result(out / "result.json") == sealed(full())


def test_rendering_again_keeps_what_belongs_to_the_result(tmp_path) -> None:
    write(tmp_path, full())
    run = (tmp_path / "run.json").read_bytes()
    write_report(load_result(tmp_path / "result.json"), {}, tmp_path, formats=("html", "json"), run_info=None)
    assert names(tmp_path) == ["report.html", "result.json", "run.json", "scores.csv"]
    assert (tmp_path / "run.json").read_bytes() == run


def test_a_folder_with_other_files_is_refused(tmp_path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ReportError, match=r"thesis\.txt"):
        write(tmp_path)
    assert names(tmp_path) == ["thesis.txt"]
    write(tmp_path, force=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_file_that_only_has_our_name_is_refused(tmp_path) -> None:
    (tmp_path / "scores.csv").write_text("years of work")
    with pytest.raises(ReportError, match=r"scores\.csv"):
        check_output_folder(tmp_path)


@pytest.mark.parametrize("name", ["report.html", "result.json", "scores.csv", "run.json"])
def test_a_folder_in_a_files_place_leaves_the_earlier_audit_whole(tmp_path, name) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(ReportError, match="folder"):
        write(tmp_path, full(), force=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    assert names(tmp_path) == sorted([*before, name])


@pytest.mark.parametrize("name", ["result.json", "run.json"])
def test_a_fifo_in_a_files_place_does_not_hang(tmp_path, name) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(ReportError, match=re.escape(name)):
        check_output_folder(tmp_path)
    write(tmp_path, full(), force=True)
    assert load_result(tmp_path / "result.json").model.name == full().model.name


def test_a_stale_file_that_cannot_be_removed_is_said_and_the_report_stands(tmp_path, caplog) -> None:
    write(tmp_path)
    (tmp_path / "report.pdf").mkdir()
    write(tmp_path, full(), force=True)
    assert load_result(tmp_path / "result.json").model.name == full().model.name
    assert "report.pdf" in caplog.text


def test_symbolic_links_and_files_are_refused(tmp_path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="symbolic link"):
        check_output_folder(tmp_path / "link")
    check_output_folder(tmp_path / "link", force=True)
    for force in (False, True):
        with pytest.raises(ReportError, match="is a file"):
            check_output_folder(tmp_path / "file", force=force)
    with pytest.raises(ReportError):
        check_output_folder(tmp_path / "file" / "below")
    write(tmp_path / "real")
    (tmp_path / "real" / "result.json").unlink()
    (tmp_path / "real" / "result.json").symlink_to(tmp_path / "file")
    with pytest.raises(ReportError, match=r"result\.json"):
        check_output_folder(tmp_path / "real")


def test_checking_writes_nothing(tmp_path) -> None:
    check_output_folder(tmp_path / "a" / "b" / "c")
    assert names(tmp_path) == []


def test_the_demos_folder_may_be_written_again(tmp_path) -> None:
    for name in ("clean", "leaky"):
        write(tmp_path / name)
    write_page('<!doctype html><meta name="generator" content="singaudit">', tmp_path, "index.html")
    check_output_folder(tmp_path, folders=("clean", "leaky"), pages=("index.html",))
    (tmp_path / "clean" / "notes").write_text("mine")
    with pytest.raises(ReportError, match="notes"):
        check_output_folder(tmp_path, folders=("clean", "leaky"), pages=("index.html",))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_page_killed_while_it_is_replaced_does_not_block_the_next(tmp_path) -> None:
    html = '<!doctype html><meta name="generator" content="singaudit">'
    for number in range(3):
        write_page(html, tmp_path, "image.html", {"image-pictures/001-image.png": b"old"})
        assert killed_before_move(
            number, lambda: write_page(html, tmp_path, "image.html", {"image-pictures/001-image.png": b"new"})
        )
        check_output_folder(tmp_path, pages=("image.html",))


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, MachineError), (errno.EACCES, ReportError)])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, code, kind) -> None:
    calls = []

    def fail(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(kind):
        write(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_failure_keeps_the_earlier_audit(tmp_path, monkeypatch) -> None:
    write(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(MachineError, match="full"):
        write(tmp_path, full())
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_csv_cells_are_no_formulas() -> None:
    cells = ["=1", "+1", "-1", "@x", "\t=1", " =1", "plain", 'a,b\n"c"']
    table = scores_csv({"name": cells, "value": [1.0, float("nan"), None, 3, 1e-7, -5.5, 0.1, 2.0]})
    rows = list(csv.reader(table.decode().splitlines(keepends=True)))
    assert [row[0] for row in rows[1:]] == ["'=1", "'+1", "'-1", "'@x", "'\t=1", "' =1", "plain", 'a,b\n"c"']
    assert [row[1] for row in rows[1:]] == ["1.0", "", "", "3", "1e-07", "-5.5", "0.1", "2.0"]
    with pytest.raises(ValueError, match="zip"):
        scores_csv({"a": [1], "b": [1, 2]})


GOOD = canonical_json(geometry_only())


def test_what_is_written_is_the_same_content_in_any_layout(tmp_path):
    # Earlier files were indented: the checksum is over the content, not over its layout.
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(GOOD), indent=1))
    assert canonical_json(load_result(path)) == GOOD


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a complete JSON"),
        (GOOD[:500], "not a complete JSON"),
        (b"[]", "no schema_version"),
        (b"{}", "no schema_version"),
        (b'{"schema_version": 1}', "no schema_version"),
        (b"\xff\xfe\x00", "not a complete JSON"),
        (b'{"schema_version": "1.0", "schema_version": "1.0"}', "occurs twice"),
        (b'{"schema_version": "9.0"}', "follows schema '9.0'"),
        (b'{"schema_version": "1.0"}', "does not fit the schema: model"),
        (b'{"schema_version": "1.0", "x": ' + b"[" * 100_000, "levels deep"),
        (b'{"schema_version": "1.0", "x": NaN}', "NaN"),
        (GOOD.replace(b'"null_dim":56', b'"null_dim": "many"'), "null_dim"),
        (GOOD.replace(b'"tolerance":6.9e-05', b'"tolerance": 1e999'), "tolerance"),
        (GOOD.replace(b'"seed":0', b'"seed": 0, "extra": 1'), "extra"),
        (GOOD.replace(b'"seed":0', b'"seed": 1'), "was changed after it was written"),
        (re.sub(rb'"checksum":"[0-9a-f]+"', b'"checksum":""', GOOD), "was changed after it was written"),
        (re.sub(rb'"checksum":"[0-9a-f]+",\n', b"", GOOD), "was changed after it was written"),
    ],
)
def test_a_bad_result_gets_one_clear_message(tmp_path, data: bytes, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(data)
    with pytest.raises(ReportError) as caught:
        load_result(path)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_or_huge_result_is_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(ReportError, match="not a file"):
        load_result(tmp_path / "none.json")
    with pytest.raises(ReportError, match="not a file"):
        load_result(tmp_path)
    monkeypatch.setattr("singaudit.report.result.store.MAX_BYTES", 100)
    (tmp_path / "big.json").write_bytes(GOOD)
    with pytest.raises(ReportError, match="larger"):
        load_result(tmp_path / "big.json")


def test_unknown_format_is_refused(tmp_path) -> None:
    with pytest.raises(ReportError, match="docx"):
        write(tmp_path / "out", formats=("docx",))
    assert names(tmp_path) == []


def test_a_result_written_in_another_layout_is_the_same_result(tmp_path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(GOOD)))
    assert canonical_json(load_result(path)) == GOOD


def test_a_result_of_an_older_schema_is_read_compared_by_its_own_content(tmp_path) -> None:
    old = json.loads(canonical_json(full()))
    for part in ("waivers", "checksum"):
        old.pop(part)
    old |= {"schema_version": "1.0", "no_longer_there": [1], "geometry": {**old["geometry"], "gone": 2.5}}
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**old, "checksum": checksum_of(old)}))
    found = load_result(path)
    assert (found.schema_version, found.gates, found.waivers) == (SCHEMA_VERSION, full().gates, [])
    write_report(found, {}, tmp_path / "again", ("html", "json"))
    assert load_result(tmp_path / "again" / "result.json").verdict == full().verdict
    path.write_text(json.dumps({**old, "checksum": checksum_of(old), "warnings": ["edited"]}))
    with pytest.raises(ReportError, match="changed after it was written"):
        load_result(path)
    path.write_text(json.dumps({**old, "schema_version": "0.9", "checksum": ""}))
    with pytest.raises(ReportError, match=r"'0\.9', this version reads '1\.0', "):
        load_result(path)
