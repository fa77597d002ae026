"""Towers of both families through one door; incomplete, foreign and pickled checkpoints are refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from singaudit.errors import LanguageError
from singaudit.language.encoders.table import BUILTIN, open_encoder
from singaudit.torchvision_import import import_torchvision

import_torchvision()


@pytest.fixture(scope="module")
def builtin():
    return open_encoder(BUILTIN)


@pytest.fixture
def copy(models, tmp_path):
    """A copy of the embedded CLIP to damage."""
    return shutil.copytree(models / "clip-shapes", tmp_path / "clip")


def test_embeddings_are_unit_vectors_of_one_space(builtin):
    images = np.stack([builtin.prepare(np.full((40, 70, 3), v, np.uint8)) for v in (0, 128, 255)])
    z, t = builtin.encode_images(images), builtin.encode_texts(["a red star", "an image"])
    assert z.shape == (3, builtin.embedding_dim)
    assert t.shape == (2, builtin.embedding_dim)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(t, axis=1), 1, atol=1e-6)
    assert (z.dtype, t.dtype) == (np.float32, np.float64)


def test_embeddings_do_not_depend_on_the_batch(builtin):
    rng = np.random.default_rng(0)
    images = np.stack([builtin.prepare(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(9)])
    whole = builtin.encode_images(images)
    single = np.concatenate([builtin.encode_images(images[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(whole, single, atol=1e-5)


def test_texts_are_encoded_as_transformers_does_it(builtin, models):
    from transformers import AutoModel, AutoTokenizer

    folder = models / "clip-shapes"
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = ["a photo of a red shape", "an image", "a large striped star on a blue background"]
    with torch.no_grad():
        truth = model.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt"))
    truth = getattr(truth, "pooler_output", truth).double().numpy()
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    np.testing.assert_allclose(builtin.encode_texts(texts), truth, atol=1e-5)


def test_bf16_is_close_and_its_own_precision(builtin):
    coarse = open_encoder(BUILTIN, precision="bf16")
    images = np.stack([builtin.prepare(np.full((64, 64, 3), v, np.uint8)) for v in (0, 128)])
    for mine, exact in (
        (coarse.encode_images(images), builtin.encode_images(images)),
        (coarse.encode_texts(["a red star"]), builtin.encode_texts(["a red star"])),
    ):
        assert not np.array_equal(mine, exact)
        assert ((mine * exact).sum(axis=1) > 0.99).all()
        np.testing.assert_allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-6)


def test_unknown_words_and_endless_texts_do_not_crash(builtin):
    texts = ["", "zebra crossing", "red " * 5000, "<script>", "\u202e☃"]
    assert np.isfinite(builtin.encode_texts(texts)).all()


def test_many_texts_are_encoded_in_pieces(builtin):
    texts = [f"{i} red" for i in range(600)]
    np.testing.assert_allclose(builtin.encode_texts(texts)[555], builtin.encode_texts([texts[555]])[0], atol=1e-5)


def tiny_siglip(folder):
    """A random SigLIP in the hub's format, with a word-level tokenizer."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {w: i for i, w in enumerate(["<pad>", "<unk>", "</s>", "a", "photo", "of", "dog", "cat", "an", "image"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", model_max_length=16
    ).save_pretrained(folder)
    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config={**common, "vocab_size": 10, "max_position_embeddings": 16, "projection_size": 16},
        vision_config={**common, "image_size": 32, "patch_size": 16},
    )
    torch.manual_seed(0)
    transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_siglip_is_read_with_its_own_padding(tmp_path):
    encoder = open_encoder(str(tiny_siglip(tmp_path / "siglip")))
    assert (encoder.family, encoder.embedding_dim) == ("siglip", 16)
    z = encoder.encode_images(np.stack([encoder.prepare(np.zeros((40, 40, 3), np.uint8))]))
    assert z.shape == (1, 16)
    together = encoder.encode_texts(["a dog", "a photo of a cat"])
    # Padded to the full length always: the same text gives the same embedding, whatever stands beside it.
    np.testing.assert_allclose(encoder.encode_texts(["a dog"])[0], together[0], atol=1e-6)
    assert not np.allclose(together[0], together[1])


def test_missing_weights_are_never_filled_in(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights.pop("text_projection.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LanguageError, match="text_projection"):
        open_encoder(str(copy))


def test_weights_of_another_shape_are_refused(copy):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights["text_projection.weight"] = weights["text_projection.weight"][:, :8].contiguous()
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LanguageError):
        open_encoder(str(copy))


def test_a_file_that_only_calls_itself_pickled_weights_is_read_as_what_it_holds(copy, builtin):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    np.testing.assert_array_equal(
        open_encoder(str(copy)).encode_texts(["a red star"]), builtin.encode_texts(["a red star"])
    )


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json"])
def test_incomplete_folders_name_what_is_missing(copy, missing):
    (copy / missing).unlink()
    (copy / "processor_config.json").unlink(missing_ok=True)  # holds what preprocessor_config.json does
    with pytest.raises(LanguageError, match=missing):
        open_encoder(str(copy))


def test_other_families_are_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["model_type"] = "bert"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(LanguageError, match="bert"):
        open_encoder(str(copy))


def test_remote_code_is_not_run(copy):
    (copy / "evil.py").write_text("raise SystemExit('executed')\n")
    config = json.loads((copy / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}, "model_type": "evil"}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(LanguageError):
        open_encoder(str(copy))


def test_a_hub_name_without_a_hub_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LanguageError, match="some/where") as info:
        open_encoder("some/where-that-is-not")
    assert "--vlm DIR" in info.value.hint


def test_links_out_of_the_folder_are_refused_and_the_hubs_own_layout_is_read(copy, tmp_path):
    repository = tmp_path / "models--org--clip"
    snapshot = repository / "snapshots" / ("1" * 40)
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in copy.iterdir():
        shutil.copy(path, repository / "blobs" / path.name)
        (snapshot / path.name).symlink_to(repository / "blobs" / path.name)
    assert open_encoder(str(snapshot)).family == "clip"
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to(repository / "blobs" / "model.safetensors")
    with pytest.raises(LanguageError, match="link out"):
        open_encoder(str(copy))


@pytest.mark.parametrize("listed", ["../model.safetensors", "/etc/passwd", "model.bin", "sub/model.safetensors", 3])
def test_shard_indexes_cannot_point_outside(copy, listed):
    (copy / "model.safetensors").rename(copy.parent / "model.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": listed}}))
    (copy / "model.bin").write_bytes(b"pickle")
    with pytest.raises(LanguageError):
        open_encoder(str(copy))


def test_shards_give_the_same_model(copy, builtin):
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    parts = {}
    for i, (name, value) in enumerate(weights.items()):
        parts.setdefault(f"model-0000{i % 2 + 1}-of-00002.safetensors", {})[name] = value
    for file, part in parts.items():
        save_file(part, copy / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(open_encoder(str(copy)).encode_texts(["a star"]), builtin.encode_texts(["a star"]))


def test_weights_cut_short_are_refused(copy):
    whole = (copy / "model.safetensors").read_bytes()
    for data in (whole[:-10], whole[:100], b"", b"\xff" * 64):
        (copy / "model.safetensors").write_bytes(data)
        with pytest.raises(LanguageError) as info:
            open_encoder(str(copy))
        assert info.value.hint


def tiny_naflex(folder):
    """A random SigLIP2 whose images keep their shape."""
    import transformers

    tiny_siglip(folder)
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (folder / name).unlink()
    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Siglip2Config(
        text_config={**common, "vocab_size": 10, "max_position_embeddings": 16, "projection_size": 16},
        vision_config={**common, "num_patches": 16, "patch_size": 8},
    )
    torch.manual_seed(0)
    model = transformers.Siglip2Model(config).eval()
    model.save_pretrained(folder)
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    processor.save_pretrained(folder)
    return model


def test_siglip2_of_any_aspect_ratio_embeds_as_transformers_does(tmp_path):
    import transformers

    model = tiny_naflex(tmp_path)
    encoder = open_encoder(str(tmp_path))
    assert (encoder.family, encoder.embedding_dim) == ("siglip2", 16)
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 90, 3), (90, 20, 3), (32, 32, 3))]
    prepared = np.stack([encoder.prepare(p) for p in photos])
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    with torch.no_grad():
        made = processor(images=[Image.fromarray(p) for p in photos], return_tensors="pt")
        output = model.get_image_features(**made)
    wanted = torch.nn.functional.normalize(getattr(output, "pooler_output", output), dim=-1).numpy()
    np.testing.assert_allclose(encoder.encode_images(prepared), wanted, atol=1e-6)
    # Patches that only fill up the array reach nothing, nor do the images beside one.
    np.testing.assert_allclose(encoder.encode_images(prepared[1:2]), wanted[1:2], atol=1e-6)
    np.testing.assert_array_equal(encoder.encode_texts(["A Dog"]), encoder.encode_texts(["a dog"]))


def test_a_processor_of_a_million_patches_is_refused(tmp_path):
    tiny_naflex(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_num_patches": 1_000_000}))
    with pytest.raises(LanguageError, match="its image processor asks for 1e"):
        open_encoder(str(tmp_path))


def test_siglip_reads_lower_case_to_its_full_length(tmp_path):
    encoder = open_encoder(str(tiny_siglip(tmp_path / "siglip")))
    np.testing.assert_array_equal(encoder.encode_texts(["A Dog"]), encoder.encode_texts(["a dog"]))
    assert np.isfinite(encoder.encode_texts(["dog " * 100])).all()


def test_a_text_is_embedded_to_the_last_bit_whatever_stands_beside_it():
    encoder = open_encoder(BUILTIN)
    texts = ["a star", "an image of a red star", "a photo of a green circle on a striped background"] * 12
    together = encoder.encode_texts(texts)
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts[:3]])
    np.testing.assert_array_equal(together, np.tile(alone, (12, 1)))
