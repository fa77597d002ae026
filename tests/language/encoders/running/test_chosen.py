"""Towers that stay in torch run with what computes less, where that agrees with the library's; else a word says why."""

import threading

import numpy as np
import pytest
import torch
from towers_alike import assert_alone_as_together, differing, images_of

from singaudit.cache.store import Cache
from singaudit.language.encoders.running import chosen, exports, lean, towers
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.encoders.table import BUILTIN, open_encoder

TEXTS = ["a red star", "", "a photo of a large striped star on a blue background", "a photo of a blue star", "a star"]


@pytest.fixture
def large_enough(monkeypatch):
    """The embedded model counts as one that a comparison pays for."""
    monkeypatch.setattr(chosen, "SMALL_PARAMETERS", 0)
    monkeypatch.setattr(towers, "SMALL_PARAMETERS", 0)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def plain(request):
    return open_encoder(BUILTIN, precision=request.param), request.param


def test_without_exports_torch_runs_what_computes_less(plain, large_enough):
    library, precision = plain
    encoder = open_encoder(BUILTIN, precision=precision)
    assert encoder.runtime == "torch"
    assert encoder._towers._beginnings is not None
    assert library._towers._beginnings is None
    least = 1 - 1e-6 if precision == "fp32" else 0.9995
    images = images_of(library)
    assert (encoder.encode_images(images) * library.encode_images(images)).sum(axis=1).min() > least
    assert (encoder.encode_texts(TEXTS) * library.encode_texts(TEXTS)).sum(axis=1).min() > least


def test_no_bit_depends_on_what_is_beside_it(plain, large_enough):
    encoder = open_encoder(BUILTIN, precision=plain[1])
    assert_alone_as_together(encoder)


def test_where_it_differs_the_librarys_own_run_and_that_is_said(plain, large_enough, monkeypatch):
    differing(monkeypatch)
    encoder = open_encoder(BUILTIN, precision=plain[1])
    assert encoder.runtime.startswith("torch, the library's own towers: what computes less has a cosine of")
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), plain[0].encode_texts(TEXTS))


def test_what_cannot_be_made_costs_nothing_but_the_gain(large_enough, monkeypatch):
    monkeypatch.setattr(lean, "of_transformers", lambda model: 1 / 0)
    encoder = open_encoder(BUILTIN, precision="bf16")
    assert encoder.runtime == "torch, the library's own towers: division by zero"
    assert encoder.encode_texts(TEXTS).shape[0] == len(TEXTS)


@pytest.mark.parametrize("tower", ["image", "text"])
def test_what_gives_no_numbers_is_not_used(tower, large_enough, monkeypatch):
    shorter = lean.of_transformers

    def broken(model):
        found = shorter(model)
        getattr(found, tower).norm = torch.nn.LayerNorm(getattr(found, tower).norm.weight.shape)
        getattr(found, tower).norm.weight.data[:] = float("nan")
        return found

    monkeypatch.setattr(lean, "of_transformers", broken)
    encoder = open_encoder(BUILTIN)
    assert "has a cosine of nan" in encoder.runtime
    assert np.isfinite(encoder.encode_texts(TEXTS)).all()
    monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)
    assert "a cosine of nan" in open_encoder(BUILTIN, exports=Exports(Cache(None), "print")).runtime


def test_where_an_export_is_refused_what_computes_less_runs_in_torch(large_enough, monkeypatch):
    monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)
    monkeypatch.setattr(exports, "_LARGEST", 1)
    encoder = open_encoder(BUILTIN, exports=Exports(Cache(None), "print"))
    assert encoder.runtime == "torch: a tower is too large for an ONNX file of one piece"
    assert encoder._towers._beginnings is not None
    monkeypatch.setattr(lean, "of_transformers", lambda model: 1 / 0)
    encoder = open_encoder(BUILTIN, exports=Exports(Cache(None), "print"))
    assert encoder.runtime == (
        "torch, the library's own towers: division by zero; a tower is too large for an ONNX file of one piece"
    )


def test_threads_of_torch_are_as_before(large_enough):
    before = torch.get_num_threads()
    found = []

    def look():
        encoder = open_encoder(BUILTIN, precision="bf16")
        encoder.encode_images(images_of(encoder))
        found.append(torch.get_num_threads())

    try:
        torch.set_num_threads(3)
        for target in (look, lambda: found.append(torch.get_num_threads())):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        assert (found, torch.get_num_threads()) == ([3, 3], 3)
    finally:
        torch.set_num_threads(before)
