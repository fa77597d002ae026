"""Thumbnails keep what is seen and lose how it was saved."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from singaudit.dataset.thumbnail import SIDE, thumbnail


def test_a_thumbnail_is_the_mean_grey_of_its_fields() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (64, 96), dtype=np.uint8)
    found = thumbnail(np.repeat(grey[:, :, None], 3, axis=2))
    slow = grey.reshape(SIDE, 4, SIDE, 6).mean(axis=(1, 3))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slow.ravel(), atol=1.0)


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (300, 7)])
def test_images_of_any_shape_have_one(shape: tuple[int, int]) -> None:
    found = thumbnail(np.full((*shape, 3), 90, np.uint8))
    np.testing.assert_allclose(found, np.full(SIDE * SIDE, 90), atol=1)


def test_saving_anew_and_rescaling_hardly_change_it() -> None:
    rng = np.random.default_rng(1)
    coarse = PIL.Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    image = coarse.resize((240, 200), PIL.Image.Resampling.BICUBIC)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=40)
    again = PIL.Image.open(data).resize((120, 100), PIL.Image.Resampling.BICUBIC)
    assert np.abs(thumbnail(np.asarray(image)) - thumbnail(np.asarray(again))).max() < 8
