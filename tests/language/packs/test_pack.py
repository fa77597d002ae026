"""Packs: an audit without a language model gives the same numbers, and nothing but a whole pack is read."""

import hashlib
import json
import os
import struct

import numpy as np
import PIL.Image
import pytest
import safetensors

from singaudit import AuditConfig, audit
from singaudit.cli.commands.pack import make_pack
from singaudit.dataset.sources.table import open_source
from singaudit.errors import ConfigError, DatasetError, LanguageError, MachineError, SingauditError
from singaudit.language.packs.encoder import PackedEncoder
from singaudit.language.packs.file import looks_like_pack, read_pack
from singaudit.language.packs.pack import open_pack
from singaudit.language.packs.write import write_pack

VLM = "builtin:shapes"
N = 80


def packed(folder, name="probe.pack", **settings):
    defaults = {"images": str(folder / "im"), "vlm": VLM, "cache": "none", "progress": "none", "quiet": True}
    return make_pack({**defaults, "pack_file": str(folder / name), **settings})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of labelled images, a pack of them without and one with the images inside."""
    folder = tmp_path_factory.mktemp("packs")
    source = open_source(f"shapes:{N}:3")
    for i in range(N):
        (folder / "im" / source.labels[i]).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(source.load(i).pixels).save(folder / "im" / source.labels[i] / f"{i}.png")
    (folder / "im" / "star" / "broken.png").write_bytes(b"nonsense")
    packed(folder)
    packed(folder, "whole.pack", with_images=True)
    return folder


@pytest.fixture(scope="module")
def plain(made, models):
    return audit(AuditConfig(model=str(models / "leaky.onnx"), images=str(made / "im"), vlm=VLM, cache="none"))


def numbers(found, ignored=("warnings", "reproduce", "encoder", "data", "generation", "checksum")):
    content = found.result.model_dump(mode="json")
    data = content["data"]["audit"]
    return {k: v for k, v in content.items() if k not in ignored} | {"digest": data["digest"], "used": data["used"]}


@pytest.mark.parametrize(("pack", "images"), [("probe.pack", "im"), ("whole.pack", None), ("whole.pack", "im")])
def test_an_audit_with_a_pack_finds_what_the_model_finds_and_never_opens_it(
    made, models, plain, monkeypatch, pack, images
):
    monkeypatch.setattr("singaudit.pipeline.observe.open_encoder", lambda *a, **k: pytest.fail("the model was opened"))
    found = audit(
        AuditConfig(
            model=str(models / "leaky.onnx"), pack=str(made / pack), images=images and str(made / images), cache="none"
        )
    )
    assert numbers(found) == numbers(plain)
    part = found.result.encoder
    assert part.pack.sha256 == hashlib.sha256((made / pack).read_bytes()).hexdigest()
    assert (part.name, part.revision) == (plain.result.encoder.name, plain.result.encoder.revision)
    assert found.result.data.labels == "true"


def test_images_that_are_not_in_the_pack_are_left_out_and_said(made, models, tmp_path):
    os.symlink(made / "im", tmp_path / "im")
    flat = tmp_path / "flat"
    flat.mkdir()
    files = sorted((made / "im").glob("*/[0-9]*.png"))[:60]
    for i, path in enumerate(files):
        (flat / f"renamed-{i}.png").write_bytes(path.read_bytes())
    PIL.Image.new("RGB", (9, 9)).save(flat / "new.png")
    found = audit(
        AuditConfig(model=str(models / "leaky.onnx"), pack=str(made / "probe.pack"), images=str(flat), cache="none")
    )
    assert (found.result.data.audit.used, found.result.data.audit.outside) == (60, 1)
    assert any("1 images" in w and "not in the pack" in w for w in found.result.warnings)
    assert any(f"{N - 60} of the pack's {N} images" in w for w in found.result.warnings)
    # The folder is flat: the labels are the pack's.
    assert found.result.data.labels_source == "the pack's labels"
    assert found.result.data.accuracy.value > 0.9


def test_no_image_in_the_pack_is_one_message(made, models, tmp_path):
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "new.png")
    config = AuditConfig(model=str(models / "leaky.onnx"), pack=str(made / "probe.pack"), images=str(tmp_path))
    with pytest.raises(DatasetError, match="holds none of the 1"):
        audit(config)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({}, DatasetError, "not the images themselves"),
        ({"images": "im", "classes": ("a", "b", "c", "d", "e", "f", "g", "h")}, LanguageError, "an image of an a"),
        ({"images": "im", "concepts": "words.txt"}, LanguageError, "zebra"),
        ({"images": "im", "vlm": "another/model"}, ConfigError, "another/model"),
    ],
)
def test_what_the_pack_cannot_serve_is_refused_before_any_work(made, models, monkeypatch, settings, error, words):
    (made / "words.txt").write_text("zebra\nred\n")
    monkeypatch.chdir(made)
    monkeypatch.setattr("singaudit.pipeline.observe.open_engine", lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(error, match=words):
        audit(AuditConfig(model=str(models / "leaky.onnx"), pack="probe.pack", **settings))


def test_the_file_is_safetensors_and_holds_no_more_than_it_says(made):
    with safetensors.safe_open(made / "whole.pack", "numpy") as file:
        assert set(file.keys()) == {"manifest", "digests", "embeddings", "texts", "images", "offsets"}
        assert file.metadata()["format"] == "singaudit pack"
        np.testing.assert_array_equal(
            file.get_tensor("embeddings"), open_pack(str(made / "whole.pack")).file.tensors["embeddings"]
        )
    first = packed(made, "again.pack")
    assert first["sha256"] == hashlib.sha256((made / "probe.pack").read_bytes()).hexdigest()
    assert first["images"] == N
    assert [s["name"] for s in first["left_out"]] == ["star/broken.png"]


def test_generated_images_are_packed_without_files(tmp_path, models):
    with pytest.raises(DatasetError, match="no image files"):
        packed(tmp_path, images="shapes:60", with_images=True)
    packed(tmp_path, images="shapes:60")
    config = {"model": str(models / "clean.onnx"), "images": "shapes:60", "cache": "none"}
    with_pack = audit(AuditConfig(pack=str(tmp_path / "probe.pack"), **config))
    assert numbers(with_pack) == numbers(audit(AuditConfig(vlm=VLM, **config)))


def test_a_pack_says_in_which_precision_it_was_made(tmp_path, models):
    found = packed(tmp_path, images="shapes:60", precision="bf16")
    assert found["encoder"]["precision"] == "bf16"
    exact = packed(tmp_path, "exact.pack", images="shapes:60")
    bf16, fp32 = (open_pack(str(tmp_path / n)).file.tensors["embeddings"] for n in ("probe.pack", "exact.pack"))
    assert exact["encoder"]["precision"] == "fp32"
    assert 0 < np.abs(bf16 - fp32).max() < 0.05
    settings = {"model": str(models / "leaky.onnx"), "images": "shapes:60", "cache": "none", "generate": 0}
    assert audit(AuditConfig(**settings, pack=str(tmp_path / "probe.pack"))).result.reproduce.precision == "bf16"
    with pytest.raises(ConfigError, match="fp32, or none, got --precision bf16"):
        audit(AuditConfig(**settings, pack=str(tmp_path / "exact.pack"), precision="bf16"))


def test_labels_of_a_file_need_the_classes_and_are_kept(made, tmp_path):
    rows = "\n".join(
        f"{p.relative_to(made / 'im').as_posix()},{'odd' if i % 2 else 'even'}"
        for i, p in enumerate(sorted((made / "im").glob("*/*.png")))
    )
    (tmp_path / "labels.csv").write_text("path,label\n" + rows)
    settings = {"images": str(made / "im"), "labels": str(tmp_path / "labels.csv")}
    with pytest.raises(ConfigError, match="class names"):
        packed(tmp_path, **settings)
    packed(tmp_path, classes="odd,even", **settings)
    pack = open_pack(str(tmp_path / "probe.pack"))
    assert set(pack.manifest.labels) == {"odd", "even"}
    assert "an image of an even" in pack.manifest.prompts


@pytest.mark.parametrize("target", ["folder", "foreign", "link", "missing/x.pack"])
def test_a_pack_is_never_written_over_what_is_none(made, tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "foreign").write_text("years of work")
    (tmp_path / "link").symlink_to(tmp_path / "foreign")
    with pytest.raises(DatasetError):
        packed(made, pack_file=str(tmp_path / target))
    assert (tmp_path / "foreign").read_text() == "years of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "foreign", "link"]


def test_a_pack_may_be_made_again_in_place(made):
    before = (made / "probe.pack").read_bytes()
    packed(made)
    assert (made / "probe.pack").read_bytes() == before
    assert looks_like_pack(made / "probe.pack")


def test_a_full_disk_leaves_the_earlier_pack(made, monkeypatch):
    before = (made / "probe.pack").read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left"):
        packed(made)
    assert (made / "probe.pack").read_bytes() == before
    assert not list(made.glob(".probe.pack.*"))


def header_of(data):
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(header, rest):
    text = json.dumps(header).encode().ljust(4088)
    return struct.pack("<Q", len(text)) + text + rest


def edits(data):
    """Name -> a pack's bytes made wrong, and what the message says."""
    header, rest = header_of(data)

    def edited(change):
        copy = json.loads(json.dumps(header))
        change(copy)
        return with_header(copy, rest)

    def bit(at):
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return {
        "empty": (b"", "is none"),
        "text": (b"this is not a pack, not at all", "is none"),
        "a zip": (b"PK\x03\x04" + b"\0" * 100, "is none"),
        "half": (data[: len(data) // 2], "truncated"),
        "header alone": (data[:4096], "truncated"),
        "half a header": (data[:100], "cannot be read"),
        "one byte less": (data[:-1], "truncated"),
        "one byte more": (data + b"x", "foreign bytes"),
        "an edited embedding": (bit(5000), "checksum"),
        "an edited last byte": (bit(len(data) - 1), "checksum"),
        "no checksum": (edited(lambda h: h["__metadata__"].pop("sha256")), "checksum"),
        "a newer version": (edited(lambda h: h["__metadata__"].update(version="2")), "version '2'"),
        "another format": (edited(lambda h: h["__metadata__"].update(format="pt")), "is none"),
        "a tensor too many": (
            edited(lambda h: h.update(code={"dtype": "U8", "shape": [0], "data_offsets": [0, 0]})),
            "does not hold",
        ),
        "a tensor missing": (edited(lambda h: h.pop("texts")), "does not hold"),
        "offsets without images": (edited(lambda h: h.pop("images")), "does not hold"),
        "another dtype": (edited(lambda h: h["digests"].update(dtype="F32")), "wrongly"),
        "an object dtype": (edited(lambda h: h["digests"].update(dtype="O")), "wrongly"),
        "a huge shape": (edited(lambda h: h["embeddings"].update(shape=[2**40, 2**40])), "wrongly"),
        "a negative shape": (edited(lambda h: h["embeddings"].update(shape=[-1, 64])), "wrongly"),
        "a fraction": (edited(lambda h: h["embeddings"].update(shape=[80.5, 64])), "wrongly"),
        "overlapping tensors": (edited(lambda h: h["texts"].update(data_offsets=[8, 16])), "wrongly"),
        "another number of dimensions": (edited(lambda h: h["embeddings"].update(shape=[40, 128])), "checksum"),
        "a header too large": (struct.pack("<Q", 2**40) + data[8:], "is none"),
        "deep JSON": (struct.pack("<Q", 4088) + b'{"a":' + b"[" * 4083 + rest, "cannot be read"),
        "a key twice": (struct.pack("<Q", 4088) + b'{"a":1,"a":2}'.ljust(4088) + rest, "occurs twice"),
        "NaN": (struct.pack("<Q", 4088) + b'{"a":NaN}'.ljust(4088) + rest, "NaN"),
        "a list": (struct.pack("<Q", 4088) + b"[]".ljust(4088) + rest, "no object"),
    }


def test_nothing_but_a_whole_pack_is_read(made, tmp_path):
    path = tmp_path / "bad.pack"
    for name, (data, words) in edits((made / "whole.pack").read_bytes()).items():
        path.write_bytes(data)
        with pytest.raises(DatasetError) as caught:
            open_pack(str(path))
        assert words in caught.value.message, f"{name}: {caught.value.message}"
        assert caught.value.hint, name
        assert "\n" not in caught.value.message, name


def rewritten(made, path, change):
    """A pack with a right checksum over wrong content."""
    file = read_pack(made / "whole.pack")
    manifest = json.loads(json.dumps(file.manifest))
    tensors = {k: np.array(v) for k, v in file.tensors.items() if k not in ("manifest", "images", "offsets")}
    images = [b"x" * 3] * len(tensors["digests"])
    change(manifest, tensors)
    write_pack(path, manifest, tensors, images)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, t: m["names"].pop(), "shape"),
        (lambda m, t: m["encoder"].update(embedding_dim=32), "shape"),
        (lambda m, t: m["encoder"].update(embedding_dim="64"), "embedding_dim"),
        (lambda m, t: m["labels"].pop(), "labels"),
        (lambda m, t: m["names"].__setitem__(0, 7), "names"),
        (lambda m, t: m["prompts"].__setitem__(0, m["prompts"][1]), "twice"),
        (lambda m, t: m.update(code="import os"), "code"),
        (lambda m, t: m.pop("encoder"), "encoder"),
        (lambda m, t: t["digests"].__setitem__(0, t["digests"][1]), "twice"),
        (lambda m, t: t["embeddings"].__setitem__(0, np.nan), "length 1"),
        (lambda m, t: t["texts"].__setitem__(0, 2.0), "length 1"),
    ],
)
def test_a_right_checksum_over_wrong_content_is_not_enough(made, tmp_path, change, words):
    rewritten(made, tmp_path / "bad.pack", change)
    with pytest.raises(DatasetError, match=words):
        open_pack(str(tmp_path / "bad.pack"))


def test_an_image_that_is_not_what_its_hash_says_is_left_out(made, tmp_path):
    rewritten(made, tmp_path / "other.pack", lambda m, t: None)
    source = open_pack(str(tmp_path / "other.pack")).source()
    assert source.load(0).reason == "is not the image that was packed"


@pytest.mark.parametrize("fate", ["cut", "edited", "replaced"])
def test_a_pack_that_changes_while_it_is_used_stays_what_was_hashed(made, tmp_path, fate):
    path = tmp_path / "x.pack"
    path.write_bytes((made / "whole.pack").read_bytes())
    pack = open_pack(str(path))
    before = {name: np.array(values) for name, values in pack.file.tensors.items()}
    image = pack.source().load(1)
    if fate == "cut":
        os.truncate(path, 5000)  # of a mapped file the next look would kill the process
    elif fate == "edited":
        path.write_bytes(bytes(path.stat().st_size))
    else:
        os.replace(made / "probe.pack", path)
        packed(made)
    for name, values in pack.file.tensors.items():
        np.testing.assert_array_equal(values, before[name])
    found = pack.source().load(1)
    if fate == "replaced":  # the open file is still the old one
        np.testing.assert_array_equal(found.pixels, image.pixels)
    else:
        assert found.reason == "is not the image that was packed"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo.pack")
    for path in (tmp_path / "fifo.pack", tmp_path, tmp_path / "none.pack", "/dev/zero", "a\0b"):
        with pytest.raises(SingauditError):
            open_pack(str(path))


def test_there_is_no_model_to_ask(made):
    encoder = PackedEncoder(open_pack(str(made / "probe.pack")))
    with pytest.raises(LanguageError, match="no model"):
        encoder.prepare(np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["groups"][0].update(template="no place for a value"), "template"),
        (lambda m: m["groups"][0].update(template="{} and {}"), "template"),
        (lambda m: m["groups"][0].update(values=["red"]), "two different values"),
        (lambda m: m["groups"][0].update(values=["red", "red", "blue"]), "two different values"),
        (lambda m: m["groups"][0].update(values=["red", " "]), "non-empty"),
        (lambda m: m["groups"][0].update(name="class"), "class is kept"),
        (lambda m: m["groups"].append(m["groups"][0]), "different names"),
        (lambda m: m.update(groups=[], concepts=[]), "concepts"),
        (lambda m: m.update(concepts=["a", "a"]), "different names"),
    ],
)
def test_a_pack_of_concepts_that_no_file_could_state_is_refused(made, tmp_path, change, words):
    file = read_pack(made / "probe.pack")
    manifest = json.loads(json.dumps(file.manifest))
    change(manifest)
    write_pack(tmp_path / "x.pack", manifest, {k: v for k, v in file.tensors.items() if k != "manifest"}, None)
    with pytest.raises(DatasetError, match=words):
        open_pack(str(tmp_path / "x.pack"))
