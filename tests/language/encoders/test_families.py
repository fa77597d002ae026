"""Every family of two-tower models gives what its own class in transformers gives; pickled weights run nothing."""

import hashlib
import json

import numpy as np
import pytest
import torch

from singaudit.errors import LanguageError
from singaudit.language.encoders.local import cached_models
from singaudit.language.encoders.table import open_encoder
from singaudit.language.encoders.taken import TakenFolder
from singaudit.torchvision_import import import_torchvision

import_torchvision()
import transformers  # noqa: E402

SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
EYES = {**SMALL, "image_size": 32, "patch_size": 16, "projection_dim": 8}
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "a", "photo", "of", "dog", "cat", "an", "image", "the"]
TEXT = {
    **SMALL,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 20,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
TEXTS = ["a dog", "a photo of a cat", "an image " * 40]


def altclip():
    text = {**TEXT, "type_vocab_size": 1, "project_dim": 16}
    return transformers.AltCLIPModel(transformers.AltCLIPConfig(text_config=text, vision_config=EYES, projection_dim=8))


def chinese_clip():
    return transformers.ChineseCLIPModel(
        transformers.ChineseCLIPConfig(text_config=TEXT, vision_config=EYES, projection_dim=8)
    )


def metaclip_2():
    text = {**TEXT, "projection_dim": 8}
    return transformers.MetaClip2Model(
        transformers.MetaClip2Config(text_config=text, vision_config=EYES, projection_dim=8)
    )


def dual():
    vision, text = transformers.ViTConfig(**EYES), transformers.BertConfig(**TEXT)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=8)
    return transformers.VisionTextDualEncoderModel(config)


def align():
    vision = transformers.AlignVisionConfig(
        image_size=32, width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=8, in_channels=[8], out_channels=[8],
        kernel_sizes=[3], strides=[2], expand_ratios=[1], num_block_repeats=[1], depthwise_padding=[],
    )  # fmt: skip
    config = transformers.AlignConfig(text_config=TEXT, vision_config=vision.to_dict(), projection_dim=8)
    return transformers.AlignModel(config)


FAMILIES = {
    "align": align,
    "altclip": altclip,
    "chinese_clip": chinese_clip,
    "metaclip_2": metaclip_2,
    "vision-text-dual-encoder": dual,
}


def saved(folder, model, pickled=False):
    """A checkpoint as the hub holds it: configuration, weights, tokenizer, image processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", bos_token="<s>"
    )
    fast.save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        folder
    )
    model.save_pretrained(folder)
    if pickled:
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return fast


def unit(found):
    rows = getattr(found, "pooler_output", found).double().numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def at_once(monkeypatch):
    """Pickled weights are read in this process: its own is started in one test, for all of them."""
    from singaudit.classifier.convert import pickled as reader
    from singaudit.language.encoders import pickled

    def written(files, out):
        reader._written([str(path) for path in files], out)

    monkeypatch.setattr(pickled, "write_safetensors", written)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_those_of_the_familys_own_class(family, tmp_path, at_once):
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    tokenizer = saved(tmp_path, model, pickled=family == "chinese_clip")
    encoder = open_encoder(str(tmp_path))
    assert (encoder.family, encoder.embedding_dim) == (family, 8)
    length = 18 if family == "altclip" else 20  # RoBERTa counts positions from behind the padding's
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=length, return_tensors="pt")
    pixels = encoder.prepare(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))[None]
    with torch.no_grad():
        asked = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        texts, images = model.get_text_features(**asked), model.get_image_features(torch.from_numpy(pixels))
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(texts), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pixels), unit(images), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_computes_in_bf16(family, tmp_path):
    torch.manual_seed(0)
    saved(tmp_path, FAMILIES[family]().eval())
    exact, coarse = open_encoder(str(tmp_path)), open_encoder(str(tmp_path), precision="bf16")
    pixels = exact.prepare(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))[None]
    for wanted, found in (
        (exact.encode_images(pixels), coarse.encode_images(pixels)),
        (exact.encode_texts(TEXTS), coarse.encode_texts(TEXTS)),
    ):
        assert not np.array_equal(found, wanted)
        assert (found * wanted).sum(axis=1).min() > 0.999


@pytest.mark.parametrize(("kind", "said"), [("bert", "'bert'"), (None, "'None'"), (["clip"], "\"\\['clip'\\]\"")])
def test_a_model_of_another_kind_is_refused_before_its_weights_are_copied(kind, said, tmp_path, monkeypatch):
    saved(tmp_path, dual())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    copied, take = [], TakenFolder.take
    monkeypatch.setattr(TakenFolder, "take", lambda self, names: copied.extend(names) or take(self, names))
    with pytest.raises(LanguageError, match=f"expected a model of the families .* found {said}"):
        open_encoder(str(tmp_path))
    assert "config.json" in copied
    assert "model.safetensors" not in copied


class Program:
    """A pickle of it is a program: whoever builds it, writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickle_that_is_a_program_is_refused_by_its_own_process(tmp_path):
    saved(tmp_path, chinese_clip(), pickled=True)
    torch.save(Program(tmp_path / "ran"), tmp_path / "pytorch_model.bin")
    with pytest.raises(LanguageError, match="pickled weights"):
        open_encoder(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_weights_beside_a_program_are_read_and_it_never_runs(tmp_path, at_once):
    model = chinese_clip().eval()
    saved(tmp_path, model, pickled=True)
    whole = open_encoder(str(tmp_path)).encode_texts(TEXTS)
    torch.save({**model.state_dict(), "extra": Program(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    np.testing.assert_array_equal(open_encoder(str(tmp_path)).encode_texts(TEXTS), whole)
    assert not (tmp_path / "ran").exists()


def test_parts_of_pickled_weights_are_put_together_and_their_digest_is_the_revision(tmp_path, at_once):
    model = chinese_clip().eval()
    saved(tmp_path, model, pickled=True)
    whole = open_encoder(str(tmp_path)).encode_texts(TEXTS)
    state = list(model.state_dict().items())
    (tmp_path / "pytorch_model.bin").unlink()
    parts = {"a.bin": state[::2], "b.bin": state[1::2]}
    for name, items in parts.items():
        torch.save(dict(items), tmp_path / name)
    index = {"weight_map": {key: name for name, items in parts.items() for key, _ in items}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    encoder = open_encoder(str(tmp_path))
    np.testing.assert_array_equal(encoder.encode_texts(TEXTS), whole)
    assert encoder.revision == hashlib.sha256(b"".join((tmp_path / n).read_bytes() for n in parts)).hexdigest()


def test_models_of_every_family_in_the_cache_are_listed(tmp_path, monkeypatch):
    folder = tmp_path / "models--org--chinese" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "chinese_clip"}')
    (folder / "pytorch_model.bin").write_bytes(b"12345")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert cached_models() == [("org/chinese", "0" * 40, 5)]
