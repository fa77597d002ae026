"""Decoding through a tiny random unCLIP pipeline, saved and opened in the hub's format."""

import numpy as np
import pytest
import torch

from singaudit.errors import LanguageError
from singaudit.pictures.decode import open_decoder, same_length
from singaudit.torchvision_import import import_torchvision

import_torchvision()
pytest.importorskip("diffusers")
WIDTH = 16
FEW = {"steps": 2, "fine_steps": 2}


def save_pipeline(folder):
    from diffusers import PriorTransformer, UnCLIPPipeline, UnCLIPScheduler, UNet2DConditionModel, UNet2DModel
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    from singaudit.language.encoder import builtin_folder

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(str(builtin_folder()))
    text = CLIPTextConfig(
        hidden_size=WIDTH, projection_dim=WIDTH, intermediate_size=24, num_attention_heads=2, num_hidden_layers=1,
        vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, max_position_embeddings=tokenizer.model_max_length,
    )  # fmt: skip
    decoder = UNet2DConditionModel(
        sample_size=8, in_channels=3, out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=16, attention_head_dim=4,
        resnet_time_scale_shift="scale_shift", class_embed_type="identity", norm_num_groups=4,
    )  # fmt: skip
    fine = {
        "sample_size": 16, "in_channels": 6, "out_channels": 3, "layers_per_block": 1, "block_out_channels": (8, 16),
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2, "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "norm_num_groups": 4,
    }  # fmt: skip
    scheduler = {"prediction_type": "epsilon", "num_train_timesteps": 1000}
    UnCLIPPipeline(
        prior=PriorTransformer(num_attention_heads=1, attention_head_dim=4, embedding_dim=WIDTH, num_layers=1),
        decoder=decoder, text_encoder=CLIPTextModelWithProjection(text), tokenizer=tokenizer,
        text_proj=UnCLIPTextProjModel(clip_embeddings_dim=WIDTH, time_embed_dim=32, cross_attention_dim=16),
        super_res_first=UNet2DModel(**fine), super_res_last=UNet2DModel(**fine),
        prior_scheduler=UnCLIPScheduler(prediction_type="sample", clip_sample_range=5.0),
        decoder_scheduler=UnCLIPScheduler(variance_type="learned_range", **scheduler),
        super_res_scheduler=UnCLIPScheduler(variance_type="fixed_small_log", **scheduler),
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("unclip")
    save_pipeline(path)
    return path


@pytest.fixture(scope="module")
def decoder(folder):
    return open_decoder(str(folder))


def test_the_equivalent_gets_the_originals_length():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 8)), rng.normal(size=(5, 8)) * 30
    found = same_length(a, b)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(a, axis=1))
    np.testing.assert_allclose(np.sum(found * b, axis=1), np.linalg.norm(found, axis=1) * np.linalg.norm(b, axis=1))
    assert (same_length(a, np.zeros_like(a)) == 0).all()


def test_pictures_depend_on_the_embedding_and_the_seed_alone(decoder):
    z = np.random.default_rng(1).normal(size=(2, WIDTH)) * 10
    together = decoder(z, 3, **FEW)
    assert together.shape == (2, 16, 16, 3)
    assert together.dtype == np.uint8
    np.testing.assert_array_equal(together[1], decoder(z[1:], 3, **FEW)[0])
    np.testing.assert_array_equal(decoder(z[[0, 0]], 3, **FEW)[0], decoder(z[[0, 0]], 3, **FEW)[1])
    assert (together[0] != together[1]).any()
    assert (together != decoder(z, 4, **FEW)).any()


def test_both_sides_are_decoded_with_the_same_noise_and_length(decoder):
    rng = np.random.default_rng(2)
    a = rng.normal(size=(2, WIDTH))
    before, after = decoder.pairs(a, 7 * a, np.array([12.0, 12.0]), (0, 1), **FEW)
    assert before.shape == (2, 2, 16, 16, 3)
    np.testing.assert_array_equal(before, after)
    assert (before[0] != before[1]).any()
    changed = decoder.pairs(a, rng.normal(size=a.shape), np.array([12.0, 12.0]), (0, 1), **FEW)[1]
    assert (changed != after).any()


def test_embeddings_of_another_width_and_pickled_weights_are_refused(decoder, folder, tmp_path):
    with pytest.raises(LanguageError, match="embeddings of 16 numbers"):
        decoder(np.zeros((1, 7)), 0)
    with pytest.raises(LanguageError, match="could not be loaded"):
        open_decoder(str(tmp_path))
    import shutil

    shutil.copytree(folder, tmp_path / "pickled")
    for weights in (tmp_path / "pickled" / "decoder").glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(LanguageError, match="could not be loaded"):
        open_decoder(str(tmp_path / "pickled"))
