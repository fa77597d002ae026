"""The cached encoder: the model is opened for what is new and for nothing else."""

import hashlib
import os
import shutil

import numpy as np
import pytest

from singaudit.cache.store import Cache
from singaudit.errors import LanguageError
from singaudit.language.encoders import revision
from singaudit.language.encoders.cached import CachedEncoder
from singaudit.language.encoders.revision import revision_of
from singaudit.language.encoders.table import BUILTIN, builtin_folder, open_encoder

TEXTS = ["a red star", "a blue square", "a red star", "a green circle"]


def never(exports):
    raise AssertionError("the model was opened")


@pytest.fixture(scope="module")
def model():
    return open_encoder(BUILTIN)


def test_a_text_is_encoded_once_and_then_never_again(tmp_path, model):
    calls = []

    class Counting:
        def __init__(self, exports):
            pass

        def __getattr__(self, name):
            return getattr(model, name)

        def text_batches(self, texts):
            calls.append(list(texts))
            return model.text_batches(texts)

    first = CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), Counting)
    found = first.encode_texts(TEXTS)
    assert calls == [["a red star", "a blue square", "a green circle"]]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_allclose(found, model.encode_texts(TEXTS), atol=1e-6)
    again = CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), never)
    np.testing.assert_array_equal(again.encode_texts(TEXTS[::-1]), found[::-1])
    assert (again.revision, again.family, again.embedding_dim) == (model.revision, model.family, model.embedding_dim)
    with pytest.raises(AssertionError, match="was opened"):
        again.encode_texts(["a black heart"])


def test_what_runs_a_model_is_remembered_for_each_precision(tmp_path):
    def opened(precision):
        return lambda exports: open_encoder(BUILTIN, precision=precision, exports=exports)

    for precision, said in [("fp32", "torch: too small to gain by an export"), ("bf16", "torch")]:
        assert CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), opened(precision), precision).runtime == said
        assert CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), never, precision).runtime == said


def test_texts_are_told_as_they_are_done_and_an_interrupt_keeps_them(tmp_path, model):
    texts, told = [f"{i} red stars" for i in range(150)], []

    def stop(done, total):
        told.append((done, total))
        if done > 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), lambda exports: model).learn(texts, stop)
    kept = told[-1][0]
    assert told[0] == (0, 150)
    assert 64 < kept < 150
    told.clear()
    CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), lambda exports: model).learn(texts, lambda *done: told.append(done))
    assert (told[0], told[-1]) == ((0, 150 - kept), (150 - kept, 150 - kept))


def test_texts_are_known_where_the_cache_cannot_be_written(tmp_path, model, monkeypatch):
    encoder = CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), lambda exports: model)
    monkeypatch.setattr("singaudit.cache.shelf.write_table", lambda *a: (_ for _ in ()).throw(OSError(28, "full")))
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), model.encode_texts(TEXTS))


def test_without_a_cache_a_text_is_still_encoded_once(model):
    encoder = CachedEncoder(BUILTIN, "cpu", Cache(None), lambda exports: model)
    assert encoder.images is None
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), encoder.encode_texts(TEXTS))


def test_a_model_that_cannot_be_opened_is_tried_once(tmp_path):
    calls = []

    def fail(exports):
        calls.append(1)
        raise LanguageError("broken")

    cached = CachedEncoder(BUILTIN, "cpu", Cache(tmp_path), lambda exports: open_encoder(BUILTIN))
    cached._open, cached._opened = fail, None
    for _ in range(3):
        with pytest.raises(LanguageError, match="broken"):
            cached.prepare(np.zeros((4, 4, 3), np.uint8))
    assert len(calls) == 1


def copied(folder):
    shutil.copytree(builtin_folder(), folder)
    return folder


def test_the_fingerprint_follows_every_file_that_decides_an_embedding(tmp_path):
    folder, cache = copied(tmp_path / "clip"), Cache(tmp_path / "cache")
    first = revision_of(str(folder), cache)
    assert first == revision_of(str(folder), cache) == revision_of(str(copied(tmp_path / "other")), cache)
    seen = {first.fingerprint}
    for name in ("model.safetensors", "preprocessor_config.json", "tokenizer.json", "config.json"):
        path = folder / name
        data = bytearray(path.read_bytes())
        data[-2] ^= 1
        path.write_bytes(bytes(data))
        seen.add(revision_of(str(folder), cache).fingerprint)
    assert len(seen) == 5


def test_a_remembered_digest_is_dropped_when_times_are_set_back(tmp_path, monkeypatch):
    monkeypatch.setattr(revision, "_SETTLED_NS", -1)
    path, cache = tmp_path / "w", Cache(tmp_path / "cache")
    path.write_bytes(b"a" * 2**21)
    before = path.stat()
    one = revision._file_digest(path, cache)
    assert list((tmp_path / "cache").glob("file-*"))
    path.write_bytes(b"b" * 2**21)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock ticks some hundred times a second
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert revision._file_digest(path, cache) != one


def test_what_only_opening_can_tell_is_left_to_it(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    assert revision_of("nobody/nothing", cache) is None
    assert revision_of("kind:of/other", cache) is None
    with pytest.raises(LanguageError, match="gone"):
        CachedEncoder("nobody/nothing", "cpu", cache, lambda exports: (_ for _ in ()).throw(LanguageError("gone")))


def test_a_folder_that_changes_while_the_model_is_opened_is_refused(tmp_path, model):
    """Its embeddings would be kept, and reported, as those of the model it was named by."""
    folder = tmp_path / "model"
    shutil.copytree(builtin_folder(), folder)

    def opened(exports):
        config = folder / "config.json"
        config.write_text(config.read_text() + " ")
        return model

    with pytest.raises(LanguageError, match="changed while the model was opened"):
        CachedEncoder(str(folder), "cpu", Cache(tmp_path / "cache"), opened)


def test_a_model_that_is_exchanged_while_it_is_opened_and_put_back_is_refused(tmp_path):
    """Its folder is what it was, before and after; what was opened is not."""
    folder = copied(tmp_path / "model")
    config = folder / "preprocessor_config.json"
    before = config.read_text()

    def opened(exports):
        config.write_text(before + " ")
        found = open_encoder(str(folder))
        config.write_text(before)
        return found

    with pytest.raises(LanguageError, match="changed while the model was opened"):
        CachedEncoder(str(folder), "cpu", Cache(tmp_path / "cache"), opened)


def test_an_opened_model_holds_no_file_that_others_can_cut(tmp_path):
    """Of a mapped file that is cut short the next look kills the process."""
    folder = copied(tmp_path / "model")
    found = open_encoder(str(folder))
    before = found.encode_texts(["a red star"])
    for path in folder.iterdir():
        os.truncate(path, 0)
    np.testing.assert_array_equal(found.encode_texts(["a red star"]), before)
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            assert str(tmp_path) not in maps.read()


@pytest.mark.parametrize("layout", ["sha256", "git"])
def test_a_file_of_the_hubs_cache_that_is_not_what_its_name_says_is_refused(tmp_path, layout):
    repository = tmp_path / "models--org--clip"
    snapshot, blobs = repository / "snapshots" / ("1" * 40), repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in builtin_folder().iterdir():
        data = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        blob = blobs / (git if layout == "git" else hashlib.sha256(data).hexdigest())
        blob.write_bytes(data)
        (snapshot / path.name).symlink_to(blob)
    assert open_encoder(str(snapshot)).family == "clip"
    blob = (snapshot / "preprocessor_config.json").resolve()
    blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(LanguageError, match="not what was downloaded"):
        open_encoder(str(snapshot))
