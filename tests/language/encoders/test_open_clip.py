"""open_clip's models from a folder or the hub: what the library itself gives, and nothing on a file's word."""

import json

import numpy as np
import pytest
import torch

from singaudit.errors import LanguageError
from singaudit.language.encoders.open_clip import needed_files, repository_of
from singaudit.language.encoders.running import chosen
from singaudit.language.encoders.table import fetch_encoder, open_encoder
from singaudit.torchvision_import import import_torchvision

import_torchvision()
open_clip = pytest.importorskip("open_clip")

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


@pytest.fixture(scope="module")
def built():
    torch.manual_seed(0)
    return open_clip.CLIP(**CONFIG["model_cfg"]).eval()


@pytest.fixture
def folder(built, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "oc").mkdir()
    (tmp_path / "oc" / "open_clip_config.json").write_text(json.dumps(CONFIG))
    save_file(
        {k: v.contiguous() for k, v in built.state_dict().items()}, tmp_path / "oc" / "open_clip_model.safetensors"
    )
    return tmp_path / "oc"


def test_embeddings_are_the_librarys_own(folder, built):
    encoder = open_encoder(str(folder))
    assert (encoder.family, encoder.embedding_dim, len(encoder.revision)) == ("open_clip", 16, 64)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    prepared = encoder.prepare(pixels)[None]
    texts = ["a dog", "a photo of a cat", "word " * 200]
    with torch.no_grad():
        image = torch.nn.functional.normalize(built.encode_image(torch.from_numpy(prepared)), dim=-1)
        text = torch.nn.functional.normalize(
            built.encode_text(open_clip.SimpleTokenizer(context_length=16)(texts)), dim=-1
        )
    np.testing.assert_allclose(encoder.encode_images(prepared), image.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), text.numpy(), atol=1e-5)
    np.testing.assert_array_equal(encoder.encode_texts(texts[:1])[0], encoder.encode_texts(texts)[0])


_WIDE = {"width": 32, "heads": 2, "layers": 1, "context_length": 16, "vocab_size": 49408}
_EYES = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16, "head_width": 32}
_TIMM = {
    "timm_model_name": "resnet10t",
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "linear",
    "image_size": 32,
}
TOWERS = {
    "CoCa": {
        "embed_dim": 16,
        "vision_cfg": {**_EYES, "attentional_pool": True, "output_tokens": True},
        "multimodal_cfg": _WIDE,
        "text_cfg": {**_WIDE, "embed_cls": True, "output_tokens": True},
    },
    "CustomTextCLIP": {"embed_dim": 16, "vision_cfg": _TIMM, "text_cfg": _WIDE},
    "CLIP": {"embed_dim": 16, "vision_cfg": {**_EYES, "layers": [1, 1, 1, 1]}, "text_cfg": _WIDE},
}


def test_images_that_bf16_moves_do_not_cost_texts_what_computes_less(built, folder, monkeypatch):
    from safetensors.torch import save_file

    monkeypatch.setattr(chosen, "SMALL_PARAMETERS", 0)
    weights = {k: (8 * v if k.startswith("visual.tr") else v).contiguous() for k, v in built.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    exact, coarse = open_encoder(str(folder)), open_encoder(str(folder), precision="bf16")
    assert (exact.runtime, coarse.runtime) == ("torch", "torch")
    assert coarse._towers._beginnings is not None
    texts = ["a dog", "a photo of a cat", "a photo of a large dog"]
    cosines = (exact.encode_texts(texts) * coarse.encode_texts(texts)).sum(axis=1)
    assert 0.9995 < cosines.min() < 1
    pixels = exact.prepare(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))[None]
    assert (exact.encode_images(pixels) * coarse.encode_images(pixels)).sum() < 1 - 1e-7


@pytest.mark.parametrize("kind", TOWERS)
def test_other_towers_give_the_librarys_own_embeddings(kind, tmp_path):
    """Captioners, timm's towers beside a text tower of their own (as SigLIP and EVA have), and ResNets."""
    from safetensors.torch import save_file

    built = getattr(open_clip, kind)(**TOWERS[kind]).eval()
    custom = {} if kind == "CLIP" else {"custom_text": True}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({**CONFIG, "model_cfg": {**TOWERS[kind], **custom}}))
    save_file(
        {k: v.contiguous().clone() for k, v in built.state_dict().items()}, tmp_path / "open_clip_model.safetensors"
    )
    encoder = open_encoder(str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    prepared, texts = encoder.prepare(pixels)[None], ["a dog", "a photo of a cat"]
    with torch.no_grad():
        image = built.encode_image(torch.from_numpy(prepared), normalize=True)
        text = built.encode_text(open_clip.SimpleTokenizer(context_length=16)(texts), normalize=True)
    np.testing.assert_allclose(encoder.encode_images(prepared), image.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), text.numpy(), atol=1e-5)
    coarse = open_encoder(str(tmp_path), precision="bf16")
    for found, wanted in ((coarse.encode_images(prepared), image), (coarse.encode_texts(texts), text)):
        assert not np.array_equal(found, wanted)
        assert (found * wanted.numpy()).sum(axis=1).min() > 0.999


def test_missing_weights_are_never_filled_in(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "open_clip_model.safetensors")
    weights.pop("text_projection")
    save_file(weights, folder / "open_clip_model.safetensors")
    with pytest.raises(LanguageError, match="text_projection"):
        open_encoder(str(folder))


@pytest.mark.parametrize(
    ("tower", "key", "value"),
    [
        ("vision_cfg", "layers", 2**63),
        ("text_cfg", "layers", 5000),
        ("text_cfg", "vocab_size", 2**40),
        ("text_cfg", "vocab_size", 2**23),
        ("vision_cfg", "width", 2**22),
        ("vision_cfg", "image_size", 2**20),
    ],
)
def test_a_configuration_beyond_the_weights_is_refused_before_anything_is_built(folder, tower, key, value):
    document = json.loads((folder / "open_clip_config.json").read_text())
    document["model_cfg"][tower][key] = value
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    with pytest.raises(LanguageError, match=f"{key}|weights"):
        open_encoder(str(folder))


@pytest.fixture
def at_once(monkeypatch):
    """Pickled weights are read in this process, not in one of its own."""
    from singaudit.classifier.convert import pickled as reader
    from singaudit.language.encoders import pickled

    monkeypatch.setattr(pickled, "write_safetensors", lambda files, out: reader._written([str(f) for f in files], out))


def test_pickled_weights_give_the_same_embeddings(folder, built, at_once):
    whole = open_encoder(str(folder)).encode_texts(["a dog"])
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in built.state_dict().items()}},
        folder / "open_clip_pytorch_model.bin",
    )
    np.testing.assert_array_equal(open_encoder(str(folder)).encode_texts(["a dog"]), whole)


def test_a_file_of_weights_in_an_architecture_of_the_librarys(built, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(open_clip, "list_models", lambda: ["ViT-Tiny"])
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: json.loads(json.dumps(CONFIG["model_cfg"])))
    torch.save(built.state_dict(), tmp_path / "Remote.pt")
    encoder = open_encoder(f"open_clip:ViT-Tiny/{tmp_path}/Remote.pt")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    own = open_clip.image_transform(
        32, is_train=False, mean=open_clip.constants.OPENAI_DATASET_MEAN, std=open_clip.constants.OPENAI_DATASET_STD
    )
    from PIL import Image

    prepared = encoder.prepare(pixels)
    np.testing.assert_allclose(prepared, own(Image.fromarray(pixels)).numpy(), atol=1e-6)
    with torch.no_grad():
        image = built.encode_image(torch.from_numpy(prepared[None]), normalize=True)
        text = built.encode_text(open_clip.SimpleTokenizer(context_length=16)(["a dog"]), normalize=True)
    np.testing.assert_allclose(encoder.encode_images(prepared[None]), image.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(["a dog"]), text.numpy(), atol=1e-5)


def test_a_text_tower_known_by_name_is_built_without_fetching(tmp_path, monkeypatch):
    """As BiomedCLIP has it: an architecture of transformers that the configuration calls by its repository."""
    import transformers
    from safetensors.torch import save_file

    from singaudit.language.encoders.text_towers import KNOWN_TEXT_TOWERS

    tower = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "vocab_size": 8, "max_position_embeddings": 16, "pad_token_id": 0}  # fmt: skip
    monkeypatch.setitem(KNOWN_TEXT_TOWERS, "org/tiny-bert", tower)
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "config.json").write_text(json.dumps(tower))
    text = {
        "hf_model_name": "org/tiny-bert",
        "hf_tokenizer_name": "org/tiny-bert",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 12,
    }
    model = {"embed_dim": 16, "vision_cfg": _TIMM, "text_cfg": text}
    local = {**text, "hf_model_name": str(tmp_path / "tower"), "hf_model_pretrained": False}
    built = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=_TIMM, text_cfg=local).eval()
    folder = tmp_path / "bio"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "cat"]))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    save_file({k: v.contiguous().clone() for k, v in built.state_dict().items()}, folder / "model.safetensors")
    encoder = open_encoder(str(folder))
    texts = ["a dog", "a cat a cat"]
    with torch.no_grad():
        own = built.encode_text(open_clip.tokenizer.HFTokenizer(str(folder), context_length=12)(texts), normalize=True)
    np.testing.assert_allclose(encoder.encode_texts(texts), own.numpy(), atol=1e-5)
    assert not np.allclose(own[0], own[1])


def test_known_text_towers_are_as_transformers_describes_them():
    import transformers

    from singaudit.language.encoders.text_towers import KNOWN_TEXT_TOWERS

    for name, stated in KNOWN_TEXT_TOWERS.items():
        made = transformers.CONFIG_MAPPING[stated["model_type"]].from_dict(dict(stated))
        assert made.hidden_size == 64 * made.num_attention_heads, name  # every one of them has heads of 64
    plain = transformers.BertConfig()
    assert all(getattr(plain, k) == v for k, v in KNOWN_TEXT_TOWERS["bert-base-uncased"].items())


@pytest.mark.parametrize(
    ("part", "entry"),
    [("text_cfg", {"hf_model_name": "org/text"}), ("vision_cfg", {"timm_model_name": "hf-hub:org/tower"})],
)
def test_nothing_is_fetched_on_a_configurations_word(folder, part, entry):
    config = json.loads(json.dumps(CONFIG))
    config["model_cfg"][part] |= entry
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(LanguageError, match="on a file's word"):
        open_encoder(str(folder))


def test_weights_that_are_a_link_out_are_refused(folder, tmp_path):
    (folder / "open_clip_model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "open_clip_model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(LanguageError, match="link out"):
        open_encoder(str(folder))


def test_names_lead_to_repositories():
    assert repository_of("open_clip:hf-hub:org/name@main") == "org/name@main"
    assert repository_of("open_clip:EVA02-L-14-336/merged2b_s6b_b61k").startswith("timm/eva02_large")


@pytest.mark.parametrize("name", ["open_clip:nonsense", "open_clip:ViT-B-32/nonsense", "open_clip:", "open_clip:a/b"])
def test_names_that_open_clip_does_not_know_are_explained(name):
    with pytest.raises(LanguageError, match="NAME/PRETRAINED") as info:
        fetch_encoder(name)
    assert info.value.hint


def test_only_what_is_needed_is_chosen():
    files = [
        "README.md",
        "open_clip_config.json",
        "open_clip_pytorch_model.bin",
        "open_clip_model.safetensors",
        "tokenizer.json",
        "config.json",
    ]
    assert needed_files(files) == ["open_clip_config.json", "tokenizer.json", "open_clip_model.safetensors"]
