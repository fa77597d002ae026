"""Translator files: exact, refused elsewhere, and nothing of a hostile file is trusted or executed."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from singaudit.classifier.interface import Head
from singaudit.errors import LanguageError
from singaudit.geometry.null_space import null_space
from singaudit.language.translators.file import KEY, read_translator, to_bytes
from singaudit.language.translators.fit import fit, fit_around
from singaudit.language.translators.published import import_published
from singaudit.metrics.fidelity import fit_for_keeping
from singaudit.metrics.scores import unit

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "sing_translators"


class Eye:
    """As much of an encoder as a check looks at."""

    name, revision, family, embedding_dim = "clip", "abc", "clip", 9


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n, m, d = 600, 12, 9
    f = rng.normal(size=(n, m)).astype(np.float32)
    z = unit(f @ rng.normal(size=(m, d)) + 0.5 * rng.normal(size=(n, d))).astype(np.float32)
    sha = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]
    w = rng.normal(size=(4, m))
    space = null_space(Head(w, np.zeros(4), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True))
    return f, z, sha, space


@pytest.fixture(scope="module")
def stored(data):
    return fit_for_keeping(*data, ("a.onnx", "ab" * 32), ("clip", "abc"), 0)


@pytest.fixture
def path(stored, tmp_path):
    (tmp_path / "t.safetensors").write_bytes(to_bytes(stored))
    return tmp_path / "t.safetensors"


def test_what_was_written_is_read_again(data, stored, path):
    again = read_translator(path)
    assert again.facts == stored.facts
    assert again.sha256 == frozenset(data[2])
    np.testing.assert_allclose(again.translator(data[0]), stored.translator(data[0]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(again.leverage, stored.leverage, rtol=1e-6)
    assert to_bytes(again) == path.read_bytes()


def test_fidelity_is_that_of_cross_fitted_translators(data, stored):
    f, z, sha, space = data
    fitted = fit(f, z, sha, space)
    read = np.stack([fitted.translators[k](f[i : i + 1])[0] for i, k in enumerate(fitted.fold)])
    mean = np.stack([t.mean @ t.weight + t.intercept for t in fitted.translators])[fitted.fold]
    assert stored.facts.r2.value == pytest.approx(1 - ((z - read) ** 2).sum() / ((z - mean) ** 2).sum(), rel=1e-9)
    assert stored.facts.cosine.value == pytest.approx(np.sum(unit(read) * z, axis=1).mean(), rel=1e-9)
    assert stored.facts.cosine_shuffled.value < stored.facts.cosine.value


def test_the_order_of_images_changes_nothing(data, stored):
    f, z, sha, space = data
    turned = np.random.default_rng(1).permutation(len(sha))
    other = fit_for_keeping(
        f[turned], z[turned], [sha[i] for i in turned], space, ("a.onnx", "ab" * 32), ("clip", "abc"), 0
    )
    assert to_bytes(other) == to_bytes(stored)


def test_leverage_times_residual_is_the_translators_sampling_variance(data):
    """Against refits on fresh noise: the spread of x'T over worlds is what the file says of one of them."""
    f, _, sha, space = data
    rng = np.random.default_rng(2)
    truth, x = rng.normal(size=(12, 9)), rng.normal(size=12)
    draws = []
    for _ in range(60):
        z = f @ truth + 0.7 * rng.standard_normal((len(f), 9))
        kept = fit_for_keeping(f, z, sha, space, ("a", "0"), ("b", "1"), 0)
        draws.append(x @ kept.translator.weight)
    said = float(x @ kept.leverage @ x) * np.diag(kept.residual)
    assert np.mean(np.var(draws, axis=0, ddof=1) / said) == pytest.approx(1, abs=0.25)


def test_another_model_or_encoder_is_refused(stored):
    stored.check_model("a.onnx", "ab" * 32, 12)
    stored.check_encoder(Eye())
    with pytest.raises(LanguageError, match=r"belongs to a\.onnx"):
        stored.check_model("b.onnx", "cd" * 32, 12)
    with pytest.raises(LanguageError, match="takes 12"):
        stored.check_model("b.onnx", "ab" * 32, 13)
    for change in ({"revision": "other"}, {"embedding_dim": 10}):
        with pytest.raises(LanguageError, match="image space"):
            stored.check_encoder(type("Other", (Eye,), change)())
    assert stored.doubts("fp32") == []
    assert "computed in fp32" in stored.doubts("bf16")[0]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda arrays: arrays.pop("weight"),
        lambda arrays: arrays.update(weight=arrays["weight"][:-1]),
        lambda arrays: arrays.update(weight=np.full_like(arrays["weight"], np.nan)),
        lambda arrays: arrays.update(residual=arrays["residual"].astype(np.float64)),
        lambda arrays: arrays.update(images=arrays["images"][:, :5]),
        lambda arrays: arrays.update(surprise=arrays["weight"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(stored, path, break_it):
    arrays = dict(load(path.read_bytes()))
    break_it(arrays)
    path.write_bytes(
        save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, {KEY: stored.facts.model_dump_json()})
    )
    with pytest.raises(LanguageError, match="expected"):
        read_translator(path)


@pytest.mark.parametrize("header", ["", "no json", "[]", '{"version": "9"}', '{"version": "1"}'])
def test_headers_that_are_none_are_refused(stored, path, header):
    path.write_bytes(save(dict(load(path.read_bytes())), {KEY: header}))
    with pytest.raises(LanguageError, match="translator"):
        read_translator(path)
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(LanguageError, match="translator"):
        read_translator(path)
    with pytest.raises(LanguageError, match="no file"):
        read_translator(path.with_name("none"))


def test_a_given_translator_scores_and_its_twins_are_fitted_here(data, stored):
    f, z, sha, space = data
    fitted = fit_around(stored.translator, f, z, sha, space)
    assert all(t is stored.translator for t in fitted.translators)
    assert (fitted.from_file, fitted.images, len(fitted.halves)) == (True, 600, len(fitted.translators))
    bare = fit_around(replace(stored.translator, mean=np.full(12, np.nan)), f, z, sha, space)
    assert all(np.isfinite(t.mean).all() for t in bare.translators)


def folder(path, state, **facts):
    path.mkdir(exist_ok=True)
    known = {
        "model_name": "net",
        "architecture": "linear",
        "embedding_backend": "kakao_karlo_v1_alpha_image_variations",
        "in_dim": 5,
        "out_dim": 3,
        "checkpoint_file": "best.pt",
        **facts,
    }
    (path / "metadata.yaml").write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in known.items()))
    torch.save(state, path / "best.pt")
    return path


def test_a_published_folder_is_imported_and_says_that_nothing_is_proven(tmp_path):
    layer = torch.nn.Linear(5, 3)
    found = import_published(folder(tmp_path / "a", layer.state_dict()))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(found.translator(x), layer(torch.from_numpy(x)).detach().numpy(), atol=1e-6)
    assert found.facts.encoder_name == "openai/clip-vit-large-patch14"
    assert "not proven" in found.doubts("fp32")[0]
    (tmp_path / "t").write_bytes(to_bytes(found))
    assert read_translator(tmp_path / "t").halves is None


class Bomb:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("state", "facts", "match"),
    [
        ({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, {}, "3 x 5"),
        ({"weight": torch.full((3, 5), torch.nan), "bias": torch.zeros(3)}, {}, "finite"),
        ({"weight": torch.zeros(3, 5)}, {}, "bias"),
        ({"weight": torch.zeros(3, 5), "bias": torch.zeros(3)}, {"architecture": "mlp"}, "linear"),
        ({"weight": torch.zeros(3, 5), "bias": torch.zeros(3)}, {"checkpoint_file": "../best.pt"}, "checkpoint"),
        ({"weight": Bomb()}, {}, "tensors"),
    ],
)
def test_folders_that_are_none_are_refused(tmp_path, monkeypatch, state, facts, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LanguageError, match=match):
        import_published(folder(tmp_path / "a", state, **facts))
    assert not (tmp_path / "executed").exists()


def test_metadata_that_is_none_is_refused(tmp_path):
    for text in ("[", "- 1", "a: &x [1]\nb: *x", ""):
        (tmp_path / "metadata.yaml").write_text(text)
        with pytest.raises(LanguageError, match="expected"):
            import_published(tmp_path)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published translators are not here")
@pytest.mark.parametrize(("name", "dim"), [("densenet", 1024), ("efficientnet", 1280)])
def test_the_papers_translators_are_imported(name, dim):
    found = import_published(PUBLISHED / name / "linear")
    assert (found.facts.feature_dim, found.facts.embedding_dim) == (dim, 768)
