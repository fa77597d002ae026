"""Valid files of every kind, changed at random: read right or refused in words, never a traceback, never a hang."""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import tarfile
import time

import numpy as np
import PIL.Image
import pytest
from model_files import LEAKY
from picture_files import NOISE, encoded

from singaudit import AuditConfig, audit
from singaudit.cli.commands.pack import make_pack
from singaudit.cli.settings import load_settings
from singaudit.dataset.sources.table import open_source
from singaudit.errors import SingauditError
from singaudit.language.concepts import open_vocabulary
from singaudit.language.encoders.table import builtin_folder, open_encoder
from singaudit.language.packs.file import read_pack
from singaudit.language.packs.pack import open_pack
from singaudit.language.packs.write import write_pack
from singaudit.report.result.store import canonical_json, load_result

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::UserWarning")]
SECONDS = 10.0
"""Of this process's work that one file may take; they are small."""
PIECES = (b"{", b'"', b"\n", b",", b"[", b"e999", b"NaN", b"\0", b"\xed\xa0\x80", b"null", b"../", b"\xff\xff\xff\x7f")
ODD = (None, -1, 0, 2**31, 2**63, 10**30, 1e308, "", "../../etc/passwd", "a" * 5000, "\u202e<b>{{7}}", [], {}, True,
       [1, 2, 3], {"a": 1}, "/dev/zero")  # fmt: skip


def bytes_changed(data, chance):
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(min(len(changed), chance.choice((200, 2**30)))) if changed else 0
        what = chance.randrange(5)
        if what == 0 and changed:
            changed[place] = chance.randrange(256)
        elif what == 1:
            del changed[place : place + chance.choice((1, 4, 50))]
        elif what == 2:
            changed[place:place] = chance.randbytes(chance.choice((1, 4, 30)))
        elif what == 3:
            del changed[place:]
        else:
            piece = chance.choice(PIECES)
            changed[place : place + chance.choice((0, len(piece)))] = piece
    return bytes(changed)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 4)):
            yield from places(value[index], (*path, index))


def values_changed(document, chance):
    whole = copy.deepcopy(document)
    path = chance.choice([path for path in places(whole) if path])
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = copy.deepcopy(chance.choice(ODD))
    return whole


def tried(use):
    """Whether it was read; a refusal has words. Anything else raised, or a long time, fails the test."""
    began, refusal = time.process_time(), None
    try:
        use()
    except SingauditError as error:
        refusal = error
    assert time.process_time() - began < SECONDS
    assert refusal is None or 3 < len(refusal.message) < 5000
    return refusal is None


def shards():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for i in range(3):
            for suffix, data in ((".png", encoded(NOISE, "PNG")), (".cls", b"ring"), (".json", b'{"label": "ring"}')):
                entry = tarfile.TarInfo(f"a/{i}{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def tables(folder):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": encoded(NOISE, "PNG"), "path": "a.png"}] * 4
    pq.write_table(pa.table({"image": images, "label": [0, 1, 0, 1]}), folder / "t.parquet")
    return (folder / "t.parquet").read_bytes()


def loaded(path):
    source = open_source(str(path))
    for index in range(min(len(source), 4)):
        source.load(index)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    (folder / "im").mkdir()
    for i in range(6):
        PIL.Image.fromarray(np.full((9, 9, 3), i * 20, np.uint8)).save(folder / "im" / f"{i}.png")
    make_pack({"images": str(folder / "im"), "vlm": "builtin:shapes", "cache": "none", "progress": "none",
               "quiet": True, "pack_file": str(folder / "x.pack"), "with_images": True})  # fmt: skip
    return folder / "x.pack"


@pytest.fixture(scope="module")
def result():
    return canonical_json(audit(AuditConfig(model=str(LEAKY))).result)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "palette", "16 bits", "float", "animation"]
)
def test_images(kind, tmp_path):
    made = {
        "palette": lambda: encoded(NOISE.convert("P"), "PNG", transparency=3),
        "16 bits": lambda: encoded(PIL.Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)), "PNG"),
        "float": lambda: encoded(PIL.Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"),
        "animation": lambda: encoded(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)]),
    }
    data, chance = made.get(kind, lambda: encoded(NOISE, kind))(), random.Random(kind)
    path = tmp_path / "x.png"
    for _ in range(150):
        path.write_bytes(bytes_changed(data, chance))
        tried(lambda: loaded(tmp_path))


@pytest.mark.parametrize("kind", ["tar", "parquet", "csv", "txt"])
def test_lists_and_archives(kind, tmp_path):
    (tmp_path / "im").mkdir()
    for i in range(4):
        NOISE.save(tmp_path / "im" / f"{i}.png")
    rows = "".join(f'im/{i}.png,ring,"re""d"\n' for i in range(4))
    data = {
        "tar": shards,
        "parquet": lambda: tables(tmp_path),
        "csv": lambda: ("path,label,colour\n" + rows).encode(),
        "txt": lambda: "".join(f"im/{i}.png\n" for i in range(4)).encode(),
    }[kind]()
    chance, path = random.Random(kind), tmp_path / f"x.{kind}"
    outcomes = set()
    for _ in range(400):
        path.write_bytes(bytes_changed(data, chance))
        outcomes.add(tried(lambda: loaded(path)))
    assert outcomes == {True, False}


def test_packs(pack, tmp_path):
    chance, path, data = random.Random(0), tmp_path / "x.pack", pack.read_bytes()
    file = read_pack(pack)
    rest = {k: v for k, v in file.tensors.items() if k not in ("manifest", "images", "offsets")}
    outcomes = set()
    for _ in range(300):
        path.write_bytes(bytes_changed(data, chance))
        tried(lambda: open_pack(str(path)))
        write_pack(path, values_changed(file.manifest, chance), rest, None)
        outcomes.add(tried(lambda: open_pack(str(path)).vocabulary))
    assert outcomes == {True, False}


def test_results_and_settings(result, tmp_path):
    chance, path = random.Random(1), tmp_path / "x.json"
    settings = b'images = "a"\ngates = ["default", "x < 1"]\nlimit = 3\n[policy]\n"*" = ["colour"]\n'
    known = {"images": "images", "gate": "gates", "limit": "limit"}
    words = b'[colour]\nvalues = ["red", "green"]\ntemplate = "a {} thing"\n'
    for _ in range(300):
        path.write_bytes(bytes_changed(result, chance))
        tried(lambda: load_result(path))
        (tmp_path / "s.toml").write_bytes(bytes_changed(settings, chance))
        tried(lambda: load_settings(str(tmp_path / "s.toml"), isolated=False, known=known))
        (tmp_path / "w.toml").write_bytes(bytes_changed(words, chance))
        tried(lambda: open_vocabulary(str(tmp_path / "w.toml"), "any"))


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json", "tokenizer.json"])
def test_language_models(name, tmp_path):
    shutil.copytree(builtin_folder(), tmp_path / "clip")
    path, chance = tmp_path / "clip" / name, random.Random(name)
    document, outcomes = json.loads(path.read_text()), set()

    def used():
        encoder = open_encoder(str(tmp_path / "clip"))
        encoder.encode_texts(["a red ring"])
        encoder.encode_images(np.stack([encoder.prepare(np.zeros((20, 30, 3), np.uint8))]))

    for _ in range(40):
        path.write_text(json.dumps(values_changed(document, chance)))
        outcomes.add(tried(used))
    assert True in outcomes
