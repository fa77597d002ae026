"""Tar shards as webdataset names them, read in place; nothing in a hostile one reaches the disk."""

import io
import os
import tarfile

import numpy as np
import pytest
from image_files import png, values

from singaudit.dataset.labels import resolve_group_labels, resolve_labels
from singaudit.dataset.sources.table import open_source
from singaudit.dataset.sources.tar_index import index_tar
from singaudit.errors import DatasetError


def tar(path, members, format=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b""


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_read_in_place_with_their_class(tmp_path, format):
    long = "d/" * 60 + "b.png" if format != tarfile.USTAR_FORMAT else "d/b.png"
    path = tar(
        tmp_path / "a.tar",
        [("a.png", png(10)), ("a.cls", b"1\n"), (long, png(20)), (long[:-3] + "cls", b"0"), ("c.txt", b"no image")],
        format,
    )
    source = open_source(path)
    assert source.names == ["a.png", long]
    assert values(source) == [10, 20]
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [1, 0]
    assert [source.load(i).pixels[0, 0, 0] for i in (1, 0, 1)] == [20, 10, 20]


def test_json_gives_labels_and_own_values_and_words_may_be_labels(tmp_path):
    members = [
        ("a.jpg.png", png(1)),
        ("a.json", b'{"label": "dog", "colour": "red", "deep": [1]}'),
        ("b.png", png(2)),
        ("b.json", b"[" * 100_000),
    ]
    source = open_source(tar(tmp_path / "a.tar", members))
    assert source.labels == ("dog", None)
    own = resolve_group_labels(source, "auto", {"colour": ("red", "blue")})
    np.testing.assert_array_equal(own["colour"], [0, -1])
    captions = open_source(tar(tmp_path / "b.tar", [("a.png", png(1)), ("a.txt", b"a dog on grass")]))
    assert resolve_labels(captions, "auto", ("dog",))[0] is None
    words = open_source(tar(tmp_path / "c.tar", [("a.png", png(1)), ("a.txt", b"dog")]))
    assert resolve_labels(words, "auto", ("dog",))[0] == [0]


@pytest.mark.parametrize("pattern", ["", "s-*.tar", "s-{0..2}.tar", "s-{0,1,2}.tar"])
def test_several_shards_by_folder_glob_or_braces(tmp_path, pattern):
    for i in (2, 0, 1):
        tar(tmp_path / f"s-{i}.tar", [(f"{i}.png", png(i)), ("same.png", png(100 + i))])
    source = open_source(str(tmp_path / pattern) if pattern else str(tmp_path))
    assert source.names == [f"s-{i}.tar/{name}" for i in range(3) for name in (f"{i}.png", "same.png")]
    assert values(source) == [0, 100, 1, 101, 2, 102]


def test_a_missing_shard_of_a_range_is_named(tmp_path):
    tar(tmp_path / "s-0.tar", [("a.png", png(1))])
    with pytest.raises(DatasetError, match=r"there is no .*s-1\.tar"):
        open_source(str(tmp_path / "s-{0..1}.tar"))
    with pytest.raises(DatasetError, match="names more"):
        open_source(str(tmp_path / "s-{0..99999999}.tar"))
    with pytest.raises(DatasetError, match="no such file"):
        open_source(str(tmp_path / "t-*.tar"))


def test_hostile_members_stay_names(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    members = [
        ("../escape.png", png(1)),
        ("/etc/absolute.png", png(2)),
        link("link.png", "/etc/passwd"),
        link("hard.png", "../escape.png", tarfile.LNKTYPE),
        link("device.png", "", tarfile.CHRTYPE),
        link("pipe.png", "", tarfile.FIFOTYPE),
        ("\u202egnp.png", png(3)),
        ("folder.png/x.png", png(4)),
    ]
    before = sorted(p.name for p in tmp_path.rglob("*"))
    source = open_source(tar(inside / "a.tar", members))
    assert values(source) == [1, 2, 3, 4]
    assert {s.name: s.reason for s in source.left_out} == {
        "a.tar/link.png": "is a link, which is not followed",
        "a.tar/hard.png": "is a link, which is not followed",
        "a.tar/device.png": "is no regular file",
        "a.tar/pipe.png": "is no regular file",
    }
    assert sorted(p.name for p in tmp_path.rglob("*") if p.name != "a.tar") == before


def test_archives_cut_short_or_damaged_give_what_they_hold_and_say_so(tmp_path):
    path = tmp_path / "a.tar"
    tar(path, [("a.png", png(1)), ("b.png", png(2) + b"x" * 3000)])
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 * 4])
    source = open_source(str(path))
    assert values(source) == [1]
    assert "cut short" in source.left_out[0].reason
    second = next(m.offset for m in index_tar(path).members if m.name == "b.png") - 512
    path.write_bytes(whole[:second] + b"\xff" * 512 + whole[second + 512 :])
    source = open_source(str(path))
    assert values(source) == [1]
    assert "no tar header" in source.left_out[0].reason


def test_a_header_that_claims_gigabytes_is_not_believed(tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**40
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024)
    with pytest.raises(DatasetError, match="cut short"):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_compressed_archives_are_refused_with_what_to_do(tmp_path, name):
    with tarfile.open(tmp_path / name, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO(b""))
    with pytest.raises(DatasetError, match="gzip") as info:
        open_source(str(tmp_path / name))
    assert "Decompress" in info.value.hint


def test_what_is_no_archive_is_explained(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"nonsense" * 200)
    os.mkfifo(tmp_path / "pipe.tar")
    for name, match in (("a.tar", "is none"), ("pipe.tar", "no regular file"), ("none.tar", "there is no")):
        with pytest.raises(DatasetError, match=match):
            open_source(str(tmp_path / name))
    with pytest.raises(DatasetError, match="found none"):
        open_source(tar(tmp_path / "b.tar", [("readme.md", b"x")]))


def test_dots_in_names_belong_to_them_where_no_image_has_a_plain_suffix(tmp_path):
    members = [
        (f"IMG.{i}.{end}", png(i) if end == "png" else str(i).encode()) for i in (1, 2) for end in ("png", "cls")
    ]
    found = open_source(str(tar(tmp_path / "a.tar", members)))
    assert values(found) == [1, 2]
    assert found.labels == ("1", "2")


def test_a_further_image_of_a_sample_is_left_out_and_counted(tmp_path):
    members = [("k.jpg", png(1)), ("k.seg.png", png(9)), ("k.mask.png", png(8)), ("k.cls", b"0"), ("._k.jpg", b"x"),
               ("__MACOSX/._k.jpg", b"x"), ("./l.jpg", png(2)), ("./l.cls", b"1")]  # fmt: skip
    found = open_source(str(tar(tmp_path / "a.tar", members)))
    assert values(found) == [1, 2]
    assert found.labels == ("0", "1")
    assert [(s.name, s.reason) for s in found.left_out] == [
        (f"a.tar/{name}", "is a further image of the sample of k.jpg") for name in ("k.seg.png", "k.mask.png")
    ]


def test_a_label_that_could_be_of_two_images_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"'k' has k\.left\.png, k\.right\.png"):
        open_source(str(tar(tmp_path / "a.tar", [("k.left.png", png(1)), ("k.right.png", png(2)), ("k.cls", b"0")])))
    with pytest.raises(DatasetError, match=r"'k' has k\.jpg, k\.png"):
        open_source(str(tar(tmp_path / "b.tar", [("k.jpg", png(1)), ("k.png", png(2)), ("k.cls", b"0")])))


def test_a_member_replaced_by_a_later_one_is_counted_and_its_label_is_the_later_ones(tmp_path):
    members = [("k.png", png(1)), ("k.cls", b"0"), ("k.png", png(2)), ("k.cls", b"1")]
    found = open_source(str(tar(tmp_path / "a.tar", members)))
    assert (values(found), found.labels) == ([2], ("1",))
    assert found.left_out[0].reason == "is replaced by a later member of this name"


@pytest.mark.parametrize("fate", ["replaced", "written to", "gone", "a FIFO"])
def test_of_an_archive_that_changed_nothing_is_read(tmp_path, fate):
    path, other = tmp_path / "a.tar", tmp_path / "b.tar"
    tar(path, [("a.png", png(1)), ("a.cls", b"dog")])
    source = open_source(str(path))
    assert source.load(0).pixels[0, 0, 0] == 1
    tar(other, [("a.png", png(2)), ("a.cls", b"cat")])
    if fate == "replaced":
        os.replace(other, path)
    elif fate == "written to":
        before = path.stat().st_ctime_ns
        while path.stat().st_ctime_ns == before:  # the file system's clock ticks some hundred times a second
            path.write_bytes(other.read_bytes())
    else:
        path.unlink()
        if fate == "a FIFO":
            os.mkfifo(path)
    assert ("changed since" if fate in ("replaced", "written to") else "cannot be read") in source.load(0).reason


@pytest.mark.parametrize("above", ["", "./", "data/train/"])
def test_an_image_folder_in_an_archive_is_labelled_by_its_folders(above, tmp_path):
    members = [(f"{above}dog/a.png", png(1)), (f"{above}cat/sub/b.png", png(2))]
    source = open_source(tar(tmp_path / "a.tar", members))
    assert source.labels == ("dog", "cat")
    assert resolve_labels(source, "auto", ("dog", "cat"))[0] == [0, 1]
    assert resolve_labels(source, "auto", ("car", "van"))[0] is None  # parts of a shard, not classes


def test_folders_are_no_labels_where_something_lies_beside_the_images_or_all_share_them(tmp_path):
    beside = [("dog/a.png", png(1)), ("cat/b.png", png(2)), ("cat/b.txt", b"a red hat")]
    assert open_source(tar(tmp_path / "a.tar", beside)).labels == (None, "a red hat")
    assert open_source(tar(tmp_path / "b.tar", [("dog/a.png", png(1)), ("dog/b.png", png(2))])).labels is None
