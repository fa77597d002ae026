"""A saved picture is what was optimised: preprocessing leaves its window alone, and torch repeats its arithmetic."""

import itertools

import numpy as np
import pytest
import torch

from singaudit.classifier.interface import Preprocessing
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.pictures.inputs import frame_size, framed, to_inputs, window

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CROPS = [1, 0.875, 0.7]
SIZES = [(61, 97), (97, 61), (40, 40), (24, 33), (300, 20)]


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(32, 32, mode="squash", **IMAGENET),
        Preprocessing(32, 48, mode="pad", interpolation="bicubic", **IMAGENET),
        Preprocessing(32, 48, mode="pad", crop=0.8, fill=(1, 200, 3), **IMAGENET),
        *(Preprocessing(*size, crop=c, **IMAGENET) for size, c in itertools.product([(32, 32), (31, 48)], CROPS)),
    ],
    ids=lambda how: f"{how.mode}-{how.height}x{how.width}-{how.crop}",
)
def test_a_frame_is_prepared_like_the_image_it_was_made_from(how, size):
    pixels = picture(*size)
    frame = framed(pixels, how)
    assert frame.shape == (*frame_size(how), 3)
    np.testing.assert_array_equal(prepare(frame, how), prepare(pixels, how))
    np.testing.assert_array_equal(framed(frame, how)[window(how)], frame[window(how)])


@pytest.mark.parametrize("crop", [1.0, 0.875, 0.61])
def test_what_is_put_into_the_window_is_what_the_classifier_gets(crop):
    how = Preprocessing(30, 44, crop=crop, scale=1.0)
    frame, inside = framed(picture(90, 70), how), picture(30, 44, 1)
    frame[window(how)] = inside
    np.testing.assert_array_equal(prepare(frame, how), inside.transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    "settings",
    [
        {**IMAGENET},
        {"channels": "bgr", "scale": 1.0, "mean": (103.9, 116.8, 123.7)},
        {"channels": "gray", "mean": (0.13,), "std": (0.31,)},
        {"dtype": "float16", **IMAGENET},
        {"dtype": "uint8", "scale": 1.0},
        {"mean": (0.5,), "std": (0.5,)},
    ],
    ids=lambda s: f"{s.get('channels', 'rgb')}-{s.get('dtype', 'float32')}-{len(s.get('mean', (0,)))}",
)
def test_torch_gives_what_prepare_gives_to_the_last_bit(settings, layout):
    how = Preprocessing(17, 23, mode="squash", layout=layout, **settings)
    images = np.stack([picture(17, 23, seed) for seed in range(40)])
    ours = to_inputs(torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32)), how)
    theirs = np.stack([prepare(image, how) for image in images])
    np.testing.assert_array_equal(ours.numpy(), theirs.astype(np.float32))


@pytest.mark.parametrize("channels", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_gradients_reach_the_pixels_they_come_from(channels, dtype):
    how = Preprocessing(4, 5, channels=channels, dtype=dtype, layout="nhwc", std=(0.5,))
    pixels = torch.full((1, 3, 4, 5), 100.0, requires_grad=True)
    to_inputs(pixels, how)[..., 0].sum().backward()
    share = {"rgb": [1, 0, 0], "bgr": [0, 0, 1], "gray": [0.299, 0.587, 0.114]}[channels]
    np.testing.assert_allclose(pixels.grad[0, :, 2, 2], np.array(share) / 255 / 0.5, rtol=1e-4)
