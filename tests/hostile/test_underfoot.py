"""Files that change while they are audited: what is reported is what was hashed, or it is said."""

import base64
import hashlib
import io
import json
import os
import shutil
import threading

import numpy as np
import PIL.Image
import pytest

from singaudit.classifier.convert.process import Original
from singaudit.classifier.files.taken import take_all
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.config import make_config
from singaudit.dataset.interface import Skipped
from singaudit.dataset.labels import read_labels, resolve_group_labels, resolve_labels, resolve_units, tables_of
from singaudit.dataset.sources.table import open_source
from singaudit.dataset.unchanged import UnchangedSource
from singaudit.errors import ModelError
from singaudit.pipeline.audit import audit

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files replaced while they are open")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def replacing(path, contents, stop):
    """Replace ``path`` by one of ``contents`` after the other, as fast as it goes."""
    turn = 0
    while not stop.is_set():
        aside = path.with_suffix(".aside")
        shutil.copyfile(contents[turn % len(contents)], aside)
        os.replace(aside, path)
        turn += 1


@pytest.mark.faults
def test_a_model_replaced_while_it_is_opened_is_one_model(models, tmp_path):
    both = [models / "leaky.onnx", models / "clean.onnx"]
    weights = {sha256(path): open_onnx(path).head.weight for path in both}
    path, stop = tmp_path / "model.onnx", threading.Event()
    shutil.copyfile(both[0], path)
    thread = threading.Thread(target=replacing, args=(path, both, stop))
    thread.start()
    try:
        for _ in range(6):
            found = open_onnx(path)
            np.testing.assert_array_equal(found.head.weight, weights[found.sha256])
            assert sha256(found.graph_path) == found.sha256
    finally:
        stop.set()
        thread.join()


def test_a_model_replaced_after_it_was_opened_is_still_the_one_that_was_hashed(models, tmp_path):
    path = tmp_path / "model.onnx"
    shutil.copyfile(models / "leaky.onnx", path)
    found = open_onnx(path)
    shutil.copyfile(models / "clean.onnx", path)
    assert found.sha256 == sha256(models / "leaky.onnx") == sha256(found.graph_path)
    how = found.preprocessing
    inputs = np.random.default_rng(0).random((8, 3, how.height, how.width)).astype(np.float32)
    assert found.certify(inputs).status == "passed"
    folder = found.graph_path.parent
    assert folder.stat().st_mode & 0o077 == 0
    found.keep.cleanup()
    assert not folder.exists()


def test_external_data_is_copied_with_the_model(models, tmp_path):
    import onnx

    onnx.save_model(
        onnx.load(models / "leaky.onnx"),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="model.data",
        size_threshold=0,
    )
    found = open_onnx(tmp_path / "model.onnx")
    logits = found.logits_of(np.ones((1, found.head.weight.shape[1]), np.float32))
    whole = (tmp_path / "model.onnx").read_bytes() + (tmp_path / "model.data").read_bytes()
    assert found.sha256 == hashlib.sha256(whole).hexdigest()
    (tmp_path / "model.data").write_bytes(b"")
    np.testing.assert_array_equal(found.logits_of(np.ones((1, found.head.weight.shape[1]), np.float32)), logits)
    assert (found.graph_path.parent / "model.data").stat().st_size > 0


def test_copies_of_files_are_hashed_as_they_are_made(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = [tmp_path / "a" / "w.bin", tmp_path / "b" / "w.bin"]
    for i, path in enumerate(files):
        path.write_bytes(bytes([i]) * 10)
    (tmp_path / "private").mkdir()
    copies, digest = take_all(files, tmp_path / "private")
    assert [p.read_bytes() for p in copies] == [p.read_bytes() for p in files]
    assert digest == hashlib.sha256(b"\0" * 10 + b"\1" * 10).hexdigest()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ModelError, match="not a regular file"):
        take_all([tmp_path / "fifo"], tmp_path / "private")
    assert Original("x", tuple(files), "checkpoint").files == tuple(files)


def photos(folder, count, seed=0):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        PIL.Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def test_an_image_is_read_again_only_as_it_was(tmp_path):
    source = open_source(str(photos(tmp_path / "photos", 3)))
    known = UnchangedSource(source, {i: source.load(i).sha256 for i in range(3)})
    assert known.load(0).sha256 == source.load(0).sha256
    assert not known.changed
    shutil.copyfile(tmp_path / "photos" / "002.png", tmp_path / "photos" / "000.png")
    (tmp_path / "photos" / "001.png").unlink()
    for i in (0, 1):
        assert isinstance(known.load(i), Skipped)
        assert isinstance(known.read(i), Skipped)
    assert known.changed == {"000.png", "001.png"}
    assert len(known) == 3
    assert known.names == source.names


def tables(folder):
    """A list of images, as text, as CSV and as lines of JSON, and a label file beside the images."""
    names = sorted(path.name for path in folder.iterdir())
    rows = [(name, ("star", "circle")[i % 2], f"scene{i // 2}") for i, name in enumerate(names)]
    written = {
        "list.txt": "\n".join(f"{folder / name} {label}" for name, label, _ in rows),
        "list.csv": "path,label,unit\n" + "\n".join(f"{folder / name},{label},{unit}" for name, label, unit in rows),
        "list.jsonl": "\n".join(json.dumps({"path": str(folder / name), "label": label}) for name, label, _ in rows),
    }
    for name, text in written.items():
        (folder.parent / name).write_text(text)
    labels = folder.parent / "labels.csv"
    labels.write_text("path,label,colour,unit\n" + "\n".join(f"{n},{label},red,{u}" for n, label, u in rows))
    return [folder.parent / name for name in written], labels


def test_image_lists_and_label_files_are_read_once_and_hashed_as_they_were_read(tmp_path):
    folder = photos(tmp_path / "photos", 4)
    lists, labels = tables(folder)
    for path in lists:
        source = open_source(str(path))
        assert [(table.path, table.sha256) for table in source.tables] == [(path, sha256(path))]
        assert source.labels == ("star", "circle", "star", "circle")
        assert not source.tables[0].changed()
        path.write_text(path.read_text() + "\n")
        assert source.tables[0].changed()
    source = open_source(str(folder))
    given, before = read_labels(source, str(labels)), sha256(labels)
    labels.write_text("path,label\n000.png,circle\n")
    assert resolve_labels(source, given, ("star", "circle"))[0] == [0, 1, 0, 1]
    assert resolve_group_labels(source, given, {"colour": ("red",)})["colour"].tolist() == [0] * 4
    assert resolve_units(source, given, "auto").tolist() == [0, 0, 1, 1]
    assert [(table.path, table.sha256) for table in tables_of(source, given)] == [(labels, before)]
    labels.unlink()
    assert tables_of(source, given)[0].changed()


def test_a_metadata_file_of_a_folder_is_hashed_as_it_was_read(tmp_path):
    folder = photos(tmp_path / "photos", 2)
    table = folder / "metadata.csv"
    table.write_text("file_name,label\n000.png,star\n001.png,circle\n")
    source = open_source(str(folder))
    assert [(found.path, found.sha256) for found in source.tables] == [(table, sha256(table))]
    table.write_text("file_name,label\n000.png,circle\n001.png,star\n")
    assert source.labels == ("star", "circle")
    assert source.tables[0].changed()


def test_a_label_file_replaced_during_an_audit_is_noticed_and_has_no_effect(models, tmp_path):
    folder = photos(tmp_path / "photos", 12)
    lists, labels = tables(folder)
    held = {path: sha256(path) for path in (lists[1], labels)}
    settings = {
        "model": str(models / "leaky.onnx"), "vlm": "builtin:shapes", "images": str(lists[1]), "labels": str(labels),
        "units": "unit", "cache": "none", "generate": 0,
    }  # fmt: skip
    labels.write_text(labels.read_text().replace("\n0", f"\n{folder}/0"))
    held[labels] = sha256(labels)

    def progress(stage, done, total):
        if stage == "look at the images":
            labels.write_text("path,label\n")

    found = audit(make_config(**settings), progress).result
    assert [(table.name, table.sha256) for table in found.data.tables] == [
        (p.name, held[p]) for p in (lists[1], labels)
    ]
    assert found.data.units.count == 6
    said = [warning for warning in found.warnings if "label file changed" in warning]
    assert len(said) == 1
    assert held[labels][:12] in said[0]


@pytest.mark.faults
def test_images_that_change_during_an_audit_are_left_out_and_said(models, tmp_path):
    folder = photos(tmp_path / "photos", 60)

    def progress(stage, done, total):
        if stage == "fit the translator" and done == 0:
            for i, path in enumerate(sorted(folder.iterdir())):
                if i % 2:
                    path.unlink()
                else:
                    PIL.Image.new("RGB", (40, 40), (i, 0, 0)).save(path)

    settings = {"model": str(models / "leaky.onnx"), "images": str(folder), "vlm": "builtin:shapes", "cache": "none"}
    found = audit(make_config(**settings, generate=1, toward="colour"), progress)
    said = [warning for warning in found.result.warnings if "while they were audited" in warning]
    assert len(said) == 1
    assert found.result.data.audit.used == 60
    shown = [item.thumbnail for item in found.result.gallery]
    assert shown
    for thumbnail in shown:  # grey stands where an image is no longer what was audited
        assert (np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(thumbnail.partition(",")[2])))) == 128).all()
