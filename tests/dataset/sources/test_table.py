"""Folders, labels and the loader: deterministic order, reasons for what is left out."""

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from singaudit.dataset.interface import Image, Skipped
from singaudit.dataset.labels import resolve_labels
from singaudit.dataset.loader import batches
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Step
from singaudit.engine.local import run_pass
from singaudit.errors import DatasetError


class Mean:
    """A recipe and its model: the mean of the pixels."""

    def open(self):
        return self

    def prepare(self, pixels):
        return np.float32(pixels.mean())

    def compute(self, inputs):
        return (inputs[:, None],)


STEPS = {"mean": Step(Mean())}


def write(path, value=0, size=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(["dog/b.png", "dog/a.PNG", "cat/deep/c.jpg", "cat/x.bmp"]):
        write(tmp_path / name, 10 * i)
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / "dog" / ".hidden.png").write_bytes(b"")
    return tmp_path


def test_folder_is_listed_in_one_order_with_its_subfolders_as_labels(folder):
    source = open_source(str(folder))
    assert source.names == ["cat/deep/c.jpg", "cat/x.bmp", "dog/a.PNG", "dog/b.png"]
    assert source.labels == ("cat", "cat", "dog", "dog")
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [1, 1, 0, 0]
    assert resolve_labels(source, "none", ("dog", "cat"))[0] is None


def test_flat_folder_has_no_labels(tmp_path):
    write(tmp_path / "a.png")
    source = open_source(str(tmp_path))
    assert source.labels is None
    assert resolve_labels(source, "auto", ("dog",))[0] is None


def test_subfolders_that_are_no_classes_are_named(folder):
    with pytest.raises(DatasetError, match="'cat'") as info:
        resolve_labels(open_source(str(folder)), "auto", ("dog", "bird"))
    assert "--labels none" in info.value.hint


def test_label_file(folder):
    source = open_source(str(folder))
    file = folder / "labels.csv"
    file.write_text("path,label\n" + "\n".join(f"{p},bird" for p in source.names))
    assert resolve_labels(source, str(file), ("bird", "x"))[0] == [0, 0, 0, 0]
    file.write_text("path,label\ncat/x.bmp,bird\n")
    with pytest.raises(DatasetError, match="3 have none"):
        resolve_labels(source, str(file), ("bird",))
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="columns"):
        resolve_labels(source, str(file), ("bird",))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda p: p / "missing", "there is no"),
        (lambda p: p / "file.png", "not a folder"),
        (lambda p: p / "empty", "holds no file"),
    ],
)
def test_bad_folders_are_explained(tmp_path, make, match):
    write(tmp_path / "file.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=match):
        open_source(str(make(tmp_path)))


def test_links_to_folders_cannot_loop_and_are_counted(folder):
    os.symlink(folder, folder / "dog" / "loop")
    os.symlink("b.png", folder / "dog" / "b.png.jpg")
    os.symlink("self.png", folder / "dog" / "self.png")
    source = open_source(str(folder))
    assert len(source) == 6
    assert [(s.name, s.reason) for s in source.left_out] == [
        ("dog/loop", "is a link to a folder that was read already")
    ]
    assert isinstance(source.load(source.names.index("dog/self.png")), Skipped)
    assert isinstance(source.load(source.names.index("dog/b.png.jpg")), Image)


def test_a_class_may_be_a_link_to_a_folder_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere / "z.png")
    os.symlink(elsewhere, folder / "bird")
    os.symlink(elsewhere, folder / "dog" / "birds")
    source = open_source(str(folder))
    assert source.names[0] == "bird/z.png"
    assert source.labels[0] == "bird"
    assert [s.name for s in source.left_out] == ["dog/birds"]


def test_folders_fifos_and_sockets_named_as_images_are_counted_and_do_not_hang(folder):
    write(folder / "dog" / "folder.png" / "inner.png")
    os.mkfifo(folder / "dog" / "pipe.png")
    source = open_source(str(folder))
    found = run_pass(source, STEPS, batch_size=2)
    assert {s.name: s.reason for s in found.skipped} == {
        "dog/folder.png": "is a folder",
        "dog/pipe.png": "is not a regular file",
    }
    assert (found.found, len(found.names)) == (6, 4)


def test_a_subfolder_that_cannot_be_listed_is_counted(folder, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    source = open_source(str(folder))
    assert [(s.name, s.reason) for s in source.left_out] == [("cat/deep", "cannot be read: Permission denied")]
    assert len(source) == 3


def test_loose_images_beside_subfolders_are_read_without_labels(folder):
    write(folder / "loose.png")
    source = open_source(str(folder))
    assert resolve_labels(source, "none", ("dog", "cat"))[0] is None
    with pytest.raises(DatasetError, match=r"1 have none, such as 'loose.png'") as info:
        resolve_labels(source, "auto", ("dog", "cat"))
    assert "--labels none" in info.value.hint


def test_unreadable_images_become_skipped(folder):
    (folder / "dog" / "bad.png").write_bytes(b"nonsense")
    source = open_source(str(folder))
    loaded = [source.load(i) for i in range(len(source))]
    assert [item.name for item in loaded if isinstance(item, Skipped)] == ["dog/bad.png"]
    assert sum(isinstance(item, Image) for item in loaded) == 4


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_loader_keeps_the_order_whatever_the_batches(folder, batch_size):
    (folder / "dog" / "aa.png").write_bytes(b"nonsense")
    source = open_source(str(folder))
    found = list(batches(source, {"mean": lambda p: np.float32(p.mean())}, batch_size, workers=3))
    assert [i for b in found for i in b.indices] == [0, 1, 2, 4]
    assert [s.name for b in found for s in b.skipped] == ["dog/aa.png"]
    values = np.concatenate([b.inputs["mean"] for b in found if b.indices])
    np.testing.assert_allclose(values, [20, 30, 10, 0], atol=1)
    assert max(len(b.indices) + len(b.skipped) for b in found) <= batch_size


def test_loader_stops_at_the_count(folder):
    found = list(batches(open_source(str(folder)), {}, 3, count=2))
    assert [i for b in found for i in b.indices] == [0, 1]


def test_an_error_in_preparation_reaches_the_caller(folder):
    def broken(pixels):
        raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        list(batches(open_source(str(folder)), {"x": broken}, 2))


@pytest.mark.parametrize("kind", ["folder", "list.txt", "table.csv", "rows.parquet", "shard.tar"])
def test_images_of_the_audit_are_left_out_of_the_probe_whatever_the_sources(folder, tmp_path_factory, kind):
    """The same bytes under another name, in another kind of source, are the same image."""
    import tarfile

    audited = run_pass(open_source(str(folder)), STEPS, batch_size=2)
    probe = tmp_path_factory.mktemp("probe")
    files = {f"{i}{Path(name).suffix.lower()}": (folder / name) for i, name in enumerate(audited.names)}
    write(probe / "new.png", 200)
    for name, original in files.items():
        (probe / name).write_bytes(original.read_bytes())
    names = [*files, "new.png"]
    if kind == "list.txt":
        (probe / kind).write_text("\n".join(names))
    elif kind == "table.csv":
        (probe / kind).write_text("path\n" + "\n".join(names))
    elif kind == "rows.parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        pa = pytest.importorskip("pyarrow")
        pq.write_table(pa.table({"image": [(probe / name).read_bytes() for name in names]}), probe / kind)
    elif kind == "shard.tar":
        with tarfile.open(probe / kind, "w") as archive:
            for name in names:
                archive.add(probe / name, name)
    source = open_source(str(probe if kind == "folder" else probe / kind))
    found = run_pass(source, STEPS, batch_size=2, exclude=frozenset(audited.sha256))
    assert (len(found.names), found.duplicates) == (1, len(files))
