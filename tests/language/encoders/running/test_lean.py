"""Towers that compute no more than embeddings are read from agree with their library's, whatever stands in a text."""

import numpy as np
import pytest
import torch
from towers_alike import differing

from singaudit.cache.store import Cache
from singaudit.language.encoders.running import exports, lean
from singaudit.language.encoders.running.beginnings import BEGINNING, Beginnings
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.encoders.running.lean import LARGEST, halve, of_open_clip, of_transformers
from singaudit.language.encoders.table import BUILTIN, open_encoder
from singaudit.torchvision_import import import_torchvision

import_torchvision()
import transformers  # noqa: E402

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
EYES = {**SMALL, "image_size": 32, "patch_size": 16}
TEXT = {**SMALL, "vocab_size": 60, "max_position_embeddings": 20, "pad_token_id": 1, "bos_token_id": 0}


def clip(end=50, act="quick_gelu"):
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config={**TEXT, "eos_token_id": end, "hidden_act": act, "projection_dim": 8},
        vision_config={**EYES, "hidden_act": act, "projection_dim": 8},
        projection_dim=8,
    )
    return transformers.CLIPModel(config).eval()


def metaclip():
    torch.manual_seed(0)
    text = {**TEXT, "eos_token_id": 2, "projection_dim": 8}
    config = transformers.MetaClip2Config(text_config=text, vision_config=EYES, projection_dim=8)
    return transformers.MetaClip2Model(config).eval()


def open_clip(**text):
    library = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    eyes = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    words = {"context_length": 20, "vocab_size": 60, "width": 16, "heads": 2, "layers": 3, **text}
    kind = library.CustomTextCLIP if text.pop("custom", False) else library.CLIP
    words.pop("custom", None)
    return kind(embed_dim=8, vision_cfg=eyes, text_cfg=words).eval()


def through(tower, beginnings, tokens):
    """Embeddings (k, d) of texts of any lengths by the tower alone."""

    def run(*given):
        with torch.inference_mode():
            return [one.float().numpy() for one in tower(*map(torch.from_numpy, given))]

    used = [np.array([beginnings.used(ids)], np.int64) for ids in tokens]
    return np.concatenate(beginnings.texts(used, run, lambda call, parts: [call(part) for part in parts]))


def texts(end, count=12):
    """Texts that begin alike in threes, some shorter than a beginning, one with the end twice, one without."""
    rng, found = np.random.default_rng(0), []
    for i in range(count):
        start = np.random.default_rng(i // 3).integers(3, 40, 5)
        found.append([0, *start.tolist(), *rng.integers(3, 40, i % 5).tolist(), end])
    return [*found, [0, end], [0, 7, 8, end, 9, end, 5], [0, 7, 8, 9, 11, 12]]


@pytest.mark.parametrize(
    ("model", "end", "stated"),
    [
        (clip, 50, 50),
        (lambda: clip(2, "gelu"), 59, LARGEST),
        (lambda: clip(act="gelu_new"), 50, 50),
        (metaclip, 2, 2),
    ],
)
def test_towers_of_transformers_agree_with_the_librarys(model, end, stated):
    model = model()
    found = of_transformers(model)
    assert found.end == stated
    rows = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = model.get_image_features(pixel_values=rows).pooler_output
        torch.testing.assert_close(found.image(rows), wanted, atol=1e-6, rtol=1e-5)
        said = [model.get_text_features(input_ids=torch.tensor([ids])).pooler_output.numpy()[0] for ids in texts(end)]
    got = through(found.text, Beginnings(found.end, found.text.state, True), texts(end))
    np.testing.assert_allclose(got, np.stack(said), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "kind",
    [{}, {"custom": True}, {"custom": True, "pool_type": "eos", "eos_id": 50}, {"proj_bias": True, "custom": True}],
)
def test_text_towers_of_open_clip_are_cut_at_their_end_and_agree(kind):
    model = open_clip(**kind)
    found = of_open_clip(model)
    end = 50 if "eos_id" in kind else 59
    tokens = [[*ids, *[0] * 20][:20] for ids in texts(end)[:-1]]  # that without an end means nothing here
    with torch.inference_mode():
        wanted = model.encode_text(torch.tensor(tokens)).numpy()
    beginnings = Beginnings(found.end, found.text.state, True)
    assert max(len(beginnings.used(ids)) for ids in tokens) < 12
    np.testing.assert_allclose(through(found.text, beginnings, tokens), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "kind",
    [
        {"custom": True, "embed_cls": True},
        {"custom": True, "no_causal_mask": True},
        {"custom": True, "pool_type": "last"},
        {"ls_init_value": 0.1},
    ],
)
def test_a_tower_of_another_kind_is_left_as_it_is(kind):
    assert of_open_clip(open_clip(**kind)) is None


def test_models_of_another_precision_or_build_are_left_as_they_are():
    mixed = clip()
    mixed.text_projection.to(torch.bfloat16)
    assert of_transformers(mixed) is None
    assert of_transformers(clip().to(torch.float16)) is None
    vision, text = transformers.ViTConfig(**EYES), transformers.BertConfig(**TEXT)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=8)
    assert of_transformers(transformers.VisionTextDualEncoderModel(config)) is None


@pytest.mark.parametrize(("tower", "share"), [("image", 0.5), ("text", 0.8)])
def test_a_halved_tower_is_closer_to_float32_than_one_whose_every_number_has_16_bits(tower, share):
    def by(model, lean=None):
        with torch.inference_mode():
            if tower == "image":
                found = lean.image(rows) if lean else model.get_image_features(rows.to(model.dtype)).pooler_output
            elif lean:
                found = torch.from_numpy(through(lean.text, Beginnings(50, lean.text.state, True), tokens))
            else:
                found = model.get_text_features(torch.tensor(tokens)).pooler_output
        return torch.nn.functional.normalize(found.double(), dim=1)

    model, tokens = clip(), [[0, *range(3 + i, 11 + i), 50] for i in range(9)]
    rows = torch.randn(9, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    lean = of_transformers(model)
    halve(getattr(lean, tower))
    truth = by(model)
    halved, coarse = (1 - (found * truth).sum(dim=1) for found in (by(model, lean), by(model.to(torch.bfloat16))))
    assert 0 < halved.mean() < coarse.mean() * share
    assert halved.max() < 1e-3


def test_a_halved_text_tower_of_open_clip_leaves_the_librarys_images_alone():
    model = open_clip()
    lean, rows = of_open_clip(model), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = [[*ids, *[0] * 20][:20] for ids in texts(59)[:9]]
    with torch.inference_mode():
        said, seen = model.encode_text(torch.tensor(tokens)).numpy(), model.encode_image(rows)
        halve(lean.text)
        assert torch.equal(model.encode_image(rows), seen)
        model.to(torch.bfloat16)  # as the images then are
    found = through(lean.text, Beginnings(lean.end, lean.text.state, True), tokens)
    assert {p.dtype for p in lean.text.norm.parameters()} == {torch.float32}
    cosines = (found * said).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(said, axis=1)
    assert 1 - 1e-3 < cosines.min() < cosines.max() < 1 + 1e-6
    assert not np.array_equal(found, said)


def test_a_beginning_is_computed_once_and_no_bit_depends_on_who_shares_it():
    found, asked = of_transformers(clip()).text, []

    def run(rows, keys, values):
        asked.append((rows.shape, keys.shape[3]))
        with torch.inference_mode():  # torch's bits depend on the number of rows
            one = [found(*(torch.from_numpy(x[i : i + 1]) for x in (rows, keys, values))) for i in range(len(rows))]
        return [torch.cat(parts).numpy() for parts in zip(*one, strict=True)]

    def each(call, parts):
        return [call(part) for part in parts]

    tokens = np.array([[0, 3, 4, 5, 6, 10 + i, 50] for i in range(9)], np.int64)
    known = Beginnings(50, found.state, True)
    together = known.texts([tokens[:6], tokens[6:]], run, each)
    assert asked == [((1, BEGINNING), 0), ((6, 2), BEGINNING), ((3, 2), BEGINNING)]
    known.texts([tokens], run, each)
    assert len(asked) == 4
    alone = Beginnings(50, found.state, True).texts([tokens[4:5]], run, each)
    np.testing.assert_array_equal(together[0][4], alone[0][0])


def test_where_bits_depend_on_the_batch_beginnings_run_in_batches_of_one_size():
    found, asked = of_transformers(clip()).text, []

    def run(*given):
        asked.append(len(given[0]))
        with torch.inference_mode():
            return [one.numpy() for one in found(*map(torch.from_numpy, given))]

    tokens = np.array([[0, 3 + i, 4, 5, 6, 10, 50] for i in range(3)], np.int64)
    Beginnings(50, found.state, False).texts([tokens], run, lambda call, parts: [call(part) for part in parts])
    assert asked == [32, 3]


def test_what_is_remembered_of_beginnings_is_bounded(monkeypatch):
    monkeypatch.setattr("singaudit.language.encoders.running.beginnings._KEPT", 4)
    found = of_transformers(clip()).text
    known = Beginnings(50, found.state, True)
    tokens = [[0, 3 + i, 4, 5, 6, 10, 50] for i in range(12)]
    parts = [through(found, known, tokens[start : start + 3]) for start in range(0, 12, 3)]
    assert len(known._known) <= 4
    held = dict(known._known)
    through(found, known, tokens[9:])
    assert all(known._known[key] is held[key] for key in held), "what is known already is not forgotten"
    np.testing.assert_allclose(
        np.concatenate(parts), through(found, Beginnings(50, found.state, True), tokens), atol=1e-6, rtol=1e-5
    )


def test_where_a_lean_tower_differs_the_librarys_own_is_exported_and_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)
    differing(monkeypatch)
    encoder = open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print"))
    assert encoder.runtime.startswith(
        "ONNX Runtime, the library's own towers: the export's embeddings have a cosine of"
    )
    assert encoder._towers._beginnings is None
    said = ["a red star", "a photo of a large striped star on a blue background"]
    np.testing.assert_allclose(encoder.encode_texts(said), open_encoder(BUILTIN).encode_texts(said), atol=1e-5)
    assert open_encoder(BUILTIN, exports=Exports(Cache(tmp_path), "print")).runtime == encoder.runtime


def test_a_lean_tower_that_cannot_be_made_costs_nothing_but_the_gain(monkeypatch):
    monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)
    monkeypatch.setattr(lean, "of_transformers", lambda model: 1 / 0)
    assert "division" in open_encoder(BUILTIN, exports=Exports(Cache(None), "print")).runtime


def test_exported_towers_give_the_same_of_texts_of_every_length(monkeypatch):
    monkeypatch.setattr(exports, "SMALL_PARAMETERS", 0)
    exported, plain = open_encoder(BUILTIN, exports=Exports(Cache(None), "print")), open_encoder(BUILTIN)
    assert exported._towers._beginnings is not None
    words = [" ".join(["red", "star", "on", "a", "blue"][i % 5] for i in range(count)) for count in range(1, 90, 4)]
    said = [*words, "", "a star <|endoftext|> on blue", "a photo of a star", "a photo of a circle"]
    np.testing.assert_allclose(exported.encode_texts(said), plain.encode_texts(said), atol=1e-5)


def test_what_is_kept_of_a_beginning_holds_nothing_else():
    found = of_transformers(clip()).text
    known = Beginnings(50, found.state, False)
    through(found, known, texts(50))
    for keys, values in known._known.values():
        assert keys.base is None
        assert values.base is None
        assert keys.shape[2] == values.shape[2] == BEGINNING
