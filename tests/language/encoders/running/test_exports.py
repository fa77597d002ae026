"""Towers through ONNX Runtime: the same embeddings as torch's, exported once, kept, and left where they differ."""

import numpy as np
import onnx
import pytest
from towers_alike import TEXTS, assert_alone_as_together, images_of

from singaudit.cache.store import Cache
from singaudit.classifier.graph import apart
from singaudit.language.encoders.running import exports
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.encoders.running.towers import OnnxTowers, TorchTowers, embed_texts
from singaudit.language.encoders.table import BUILTIN, open_encoder


@pytest.fixture
def large_enough(monkeypatch):
    """The embedded model counts as one that an export pays for."""
    monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)


@pytest.fixture(scope="module")
def torchs():
    return open_encoder(BUILTIN)


def never(*args):
    raise AssertionError("it was exported again")


def test_an_export_gives_torchs_embeddings_and_is_made_once(tmp_path, torchs, large_enough, monkeypatch):
    first = open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print"))
    assert isinstance(first._towers, OnnxTowers)
    images = images_of(first)
    np.testing.assert_allclose(first.encode_images(images), torchs.encode_images(images), atol=1e-5)
    np.testing.assert_allclose(first.encode_texts(TEXTS), torchs.encode_texts(TEXTS), atol=1e-5)
    monkeypatch.setattr(exports, "_written", never)
    again = open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print"))
    assert (again.runtime, again._towers.exact) == ("ONNX Runtime", first._towers.exact)
    assert again._towers._beginnings is not None
    np.testing.assert_array_equal(again.encode_images(images), first.encode_images(images))
    np.testing.assert_array_equal(again.encode_texts(TEXTS), first.encode_texts(TEXTS))
    assert "exported again" in open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "other")).runtime


def test_no_bit_of_an_embedding_depends_on_what_is_beside_it(torchs, large_enough):
    encoder = open_encoder(BUILTIN, exports=Exports(Cache(None), "print"))
    for each in (encoder, torchs):
        assert_alone_as_together(each)


@pytest.mark.parametrize("taken", [True, False])
def test_weights_beside_the_graph_and_within_it_give_the_same_bits(tmp_path, torchs, large_enough, monkeypatch, taken):
    whole = open_encoder(BUILTIN, exports=Exports(Cache(tmp_path / "whole"), "print"))
    monkeypatch.setattr(exports, "SMALLEST", 16)
    monkeypatch.setattr(apart, "SMALLEST", 16)
    monkeypatch.setattr(exports, "takes_files", lambda: taken)
    asked, make = [], exports.make_session
    monkeypatch.setattr(exports, "make_session", lambda *args, **more: asked.append(more) or make(*args, **more))
    images = images_of(torchs)
    for _ in ("made", "kept"):
        encoder = open_encoder(BUILTIN, exports=Exports(Cache(tmp_path / "apart"), "print"))
        assert isinstance(encoder._towers, OnnxTowers)
        np.testing.assert_array_equal(encoder.encode_images(images), whole.encode_images(images))
        np.testing.assert_array_equal(encoder.encode_texts(TEXTS), whole.encode_texts(TEXTS))
    assert len(asked) == 4
    assert all(bool(more["files"]) == taken for more in asked)


def test_what_is_kept_is_an_onnx_file(tmp_path, large_enough):
    open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print"))
    files = list(tmp_path.glob("towers-*/*.onnx"))
    assert len(files) == 2
    for file in files:
        onnx.checker.check_model(file, full_check=True)
        assert {item.data_location for item in onnx.load(file).graph.initializer} == {onnx.TensorProto.DEFAULT}


def test_a_damaged_export_is_made_again(tmp_path, large_enough):
    open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print"))
    files = sorted(tmp_path.glob("towers-*/*.onnx"))
    assert len(files) == 2
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-9] + b"\0" * 9)
    open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print"))
    assert files[0].read_bytes() == whole


def test_an_export_of_another_checkpoint_is_not_taken_from_its_place(tmp_path, large_enough):
    for name in ("one", "two"):
        open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), name))
    files = [next(folder.glob("*.onnx")) for folder in sorted(p for p in tmp_path.glob("towers-*") if p.is_dir())]
    held = [file.read_bytes() for file in files]
    for file, other, data in zip(files, files[::-1], held[::-1], strict=True):
        (file.parent / other.name).write_bytes(data)
        file.unlink()
    assert Exports(Cache(tmp_path), "one").kept() is None


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [("COSINE", 1.1, "a cosine of"), ("_written", never, "exported again"), ("_LARGEST", 1, "too large")],
)
def test_where_it_differs_or_fails_torch_runs_with_a_word_why(tmp_path, large_enough, monkeypatch, what, value, said):
    monkeypatch.setattr(exports, what, value)
    encoder = open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print"))
    assert isinstance(encoder._towers, TorchTowers)
    assert said in encoder.runtime
    if what == "_LARGEST":
        return
    monkeypatch.undo()  # what was found is remembered
    monkeypatch.setattr(exports, "_written", never)
    monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)
    assert said in open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print")).runtime


def test_a_small_model_stays_in_torch():
    assert "too small" in open_encoder(BUILTIN, exports=Exports(Cache(None), "print")).runtime


class Counted:
    """Towers that tell how large their batches of texts are."""

    runtime, filled = "counted", 20

    def __init__(self, exact):
        self.exact, self.sizes = exact, []

    def used(self, ids):
        return ids

    def texts(self, batches):
        self.sizes += [batch.shape for batch in batches]
        return [np.ones((len(batch), 2)) for batch in batches]


def test_texts_of_one_length_go_together_and_nothing_is_filled_up_without_need():
    tokens = [[1] * (3 + i % 2) for i in range(90)]
    exact, filled = Counted(True), Counted(False)
    rows = np.concatenate([positions for positions, _ in embed_texts(tokens, exact)])
    assert sorted(rows.tolist()) == list(range(90))
    assert exact.sizes == [(32, 3), (13, 3), (32, 4), (13, 4)]
    list(embed_texts(tokens, filled))
    assert filled.sizes == [(20, 3)] * 3 + [(20, 4)] * 3
