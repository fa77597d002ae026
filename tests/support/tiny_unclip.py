"""A tiny random unCLIP image-variation pipeline, whose image encoder is the embedded one or another of its width."""

import torch

WIDTH = 64


def save_pipeline(folder, seed=None):
    """Save one; with ``seed`` its image encoder is random too."""
    from diffusers import UnCLIPImageVariationPipeline, UnCLIPScheduler, UNet2DConditionModel, UNet2DModel
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
    from transformers import (
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )

    from singaudit.language.encoders.table import builtin_folder

    torch.manual_seed(seed or 0)
    home = str(builtin_folder())
    tokenizer = CLIPTokenizer.from_pretrained(home)
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
        "sample_size": 16,
        "in_channels": 6,
        "out_channels": 3,
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "norm_num_groups": 4,
    }
    scheduler = {"prediction_type": "epsilon", "num_train_timesteps": 1000}
    clip = CLIPModel.from_pretrained(home)
    clip.config.vision_config.projection_dim = WIDTH
    encoder = CLIPVisionModelWithProjection(clip.config.vision_config)
    if seed is None:
        own = encoder.state_dict()
        encoder.load_state_dict({name: value for name, value in clip.state_dict().items() if name in own})
    UnCLIPImageVariationPipeline(
        decoder=decoder,
        text_encoder=CLIPTextModelWithProjection(text),
        tokenizer=tokenizer,
        text_proj=UnCLIPTextProjModel(clip_embeddings_dim=WIDTH, time_embed_dim=32, cross_attention_dim=16),
        feature_extractor=CLIPImageProcessorPil.from_pretrained(home),
        image_encoder=encoder,
        super_res_first=UNet2DModel(**fine),
        super_res_last=UNet2DModel(**fine),
        decoder_scheduler=UnCLIPScheduler(variance_type="learned_range", **scheduler),
        super_res_scheduler=UnCLIPScheduler(variance_type="fixed_small_log", **scheduler),
    ).save_pretrained(folder)
