"""--preprocess is read exactly; metadata, graph facts and guesses are told apart; pixels become what was stated."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from singaudit.classifier.interface import Preprocessing
from singaudit.classifier.preprocessing.metadata import read_metadata
from singaudit.classifier.preprocessing.resolve import prepare, resolve_preprocessing
from singaudit.classifier.preprocessing.syntax import parse_preprocess
from singaudit.classifier.preprocessing.timm_config import read_timm_config
from singaudit.errors import ConfigError, ModelError
from singaudit.report.build.scores import preprocess_text
from singaudit.torchvision_import import import_torchvision

IMAGENET = "size=224,crop=0.95,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"


def test_every_key_is_read() -> None:
    text = (
        "size=48x192, mode=pad, crop=0.95, mean=0.1/0.2/0.3, std=0.5, scale=1/127.5, channels=bgr, layout=nhwc, "
        "interpolation=lanczos"
    )
    assert parse_preprocess(text) == {
        "size": (48, 192),
        "mode": "pad",
        "crop": 0.95,
        "mean": (0.1, 0.2, 0.3),
        "std": (0.5,),
        "scale": 1 / 127.5,
        "channels": "bgr",
        "layout": "nhwc",
        "interpolation": "lanczos",
    }
    assert parse_preprocess("size=224,scale=1") == {"size": (224, 224), "scale": 1.0}
    assert parse_preprocess("") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maen=0.5", "unknown key 'maen'"),
        ("size", "expected key=value"),
        ("size=0", "1 to 8192"),
        ("size=100000", "1 to 8192"),
        ("size=99999999999", "expected pixels"),
        ("size=1x2x3", "expected pixels"),
        ("size=-5", "expected pixels"),
        ("size=²", "expected pixels"),
        ("crop=0", "crop expected"),
        ("crop=20.5", "crop expected"),
        ("mean=nan", "mean expected finite"),
        ("mean=0.5/0.5", "1 or 3 numbers"),
        ("mean=inf", "mean expected finite"),
        ("std=0", "std expected numbers above zero"),
        ("std=0.2/0/0.2", "std expected numbers above zero"),
        ("std=1e-320", "std expected numbers above zero"),
        ("scale=1/0", "scale expected"),
        ("scale=0", "scale expected"),
        ("scale=a/b", "scale expected finite"),
        ("mode=centre", "mode expected crop|squash|pad"),
        ("channels=rgba", "channels expected"),
        ("size=5,size=6", "given twice"),
    ],
)
def test_mistakes_name_the_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_preprocess(text)
    assert message in caught.value.message


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_preprocess("interpolatoin=bicubic")
    assert "'interpolation'" in caught.value.hint


def test_stated_preprocessing_leaves_nothing_guessed() -> None:
    how = resolve_preprocessing(parse_preprocess(IMAGENET), {}, [None, 3, None, None], "float32")
    assert (how.height, how.width, how.crop, how.guessed, how.source) == (224, 224, 0.95, (), "--preprocess")
    assert how.scale == 1 / 255


def test_nothing_stated_is_guessed_and_says_so() -> None:
    how = resolve_preprocessing(None, {}, [1, 3, 64, 48], "float32")
    assert (how.height, how.width, how.layout) == (64, 48, "nchw")
    assert set(how.guessed) == {"mean", "std", "scale", "mode", "crop", "interpolation", "channels"}
    assert "guess" in how.source


def test_size_alone_does_not_state_the_arithmetic() -> None:
    how = resolve_preprocessing({"size": (64, 64)}, {}, [None, 3, None, None], "float32")
    assert {"mean", "std", "scale"} <= set(how.guessed)


def test_statement_outranks_metadata_outranks_guess() -> None:
    metadata = parse_preprocess("mean=0.5,std=0.5,crop=1,interpolation=bicubic")
    how = resolve_preprocessing({"crop": 0.9}, metadata, [None, 3, 32, 32], "float32", metadata_source="its metadata")
    assert (how.crop, how.mean, how.interpolation, how.guessed) == (0.9, (0.5,), "bicubic", ())
    assert how.source == "--preprocess and its metadata"


def test_facts_of_the_graph() -> None:
    assert resolve_preprocessing(None, {}, [None, 64, 64, 3], "float32").layout == "nhwc"
    gray = resolve_preprocessing({"mean": (0.5,), "std": (0.5,)}, {}, [None, 1, 28, 28], "float32")
    assert (gray.channels, gray.guessed) == ("gray", ())
    bytes_in = resolve_preprocessing(None, {}, [None, 64, 64, 3], "uint8")
    assert (bytes_in.scale, bytes_in.mean, bytes_in.std) == (1.0, (0.0,), (1.0,))
    assert "mean" not in bytes_in.guessed
    assert resolve_preprocessing({"mean": (123.7,), "std": (58.4,)}, {}, [1, 3, 8, 8], "float32").scale == 1.0


@pytest.mark.parametrize(
    ("stated", "shape", "dtype", "error", "message"),
    [
        ({"size": (32, 32)}, [None, 3, 64, 64], "float32", ConfigError, "does not fit the model's fixed input"),
        ({}, [None, 3, None, None], "float32", ModelError, "leaves height or width free"),
        ({}, [None, 3, 8], "float32", ModelError, "4 axes"),
        ({}, [None, 4, 8, 8], "float32", ModelError, "1 or 3 channels"),
        ({"layout": "nhwc"}, [None, 3, 64, 64], "float32", ConfigError, "layout=nhwc does not fit"),
        ({"channels": "bgr"}, [None, 1, 64, 64], "float32", ConfigError, "1 channel"),
        ({"channels": "gray"}, [None, 3, 64, 64], "float32", ConfigError, "3 channels"),
        ({"mean": (0.5,)}, [None, 3, 64, 64], "uint8", ConfigError, "uint8"),
        ({"mean": (1.0, 2.0, 3.0), "std": (1.0,)}, [None, 1, 64, 64], "float32", ConfigError, "gray"),
    ],
)
def test_contradictions_are_refused(stated: Any, shape: Any, dtype: str, error: Any, message: str) -> None:
    with pytest.raises(error) as caught:
        resolve_preprocessing(stated, {}, shape, dtype)
    assert message in caught.value.message


# Metadata


def test_timm_metadata() -> None:
    config = {
        "architecture": "x",
        "pretrained_cfg": {
            "input_size": [3, 240, 320],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "interpolation": "bicubic",
            "crop_pct": 0.9,
            "crop_mode": "squash",
            "label_names": ["a", "b"],
        },
    }
    found = read_metadata({"config": json.dumps(config)}, None)
    assert found.preprocess == {
        "size": (240, 320),
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "interpolation": "bicubic",
        "crop": 0.9,
        "mode": "squash",
    }
    assert "config" in found.preprocess_source


def test_transformers_files_beside_the_model(tmp_path: Path) -> None:
    processor = {
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "size": {"shortest_edge": 256},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
        "resample": 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"1": "dog", "0": "cat"}}))
    found = read_metadata({}, tmp_path)
    assert found.preprocess["size"] == (224, 224)
    assert found.preprocess["crop"] == 0.875
    assert found.preprocess["mean"] == (0.1, 0.2, 0.3)
    assert found.preprocess["interpolation"] == "bicubic"
    assert found.class_names == ("cat", "dog")
    assert found.preprocess_source == "preprocessor_config.json beside the model"


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize(("crop", "size"), [(0.95, 224), (0.9, 224), (0.875, 224), (0.965, 240), (1.0, 96)])
def test_what_timm_shows_its_model_is_what_the_classifier_gets(crop: float, size: int, mode: str) -> None:
    import_torchvision()
    data = pytest.importorskip("timm.data")
    config = {
        "input_size": [3, size, size],
        "crop_pct": crop,
        "interpolation": "bicubic",
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.25, 0.3],
        "crop_mode": mode,
    }
    transform = data.create_transform(**data.resolve_data_config(pretrained_cfg=config))
    how = resolve_preprocessing({}, read_timm_config(config), [None, 3, size, size], "float32")
    for shape in ((300, 401), (403, 300), (288, 384)):
        want = transform(Image.fromarray(photo(*shape))).numpy()
        np.testing.assert_allclose(prepare(photo(*shape), how), want, atol=1e-5)


def test_transformers_without_crop_or_normalisation() -> None:
    processor = {"size": {"height": 64, "width": 96}, "do_rescale": True, "do_normalize": False, "resample": 2}
    found = read_metadata({"preprocessor": json.dumps(processor)}, None).preprocess
    assert (found["size"], found["mode"], found["mean"], found["std"]) == ((64, 96), "squash", (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("properties", "names"),
    [
        ({"names": "{0: 'cat', 1: 'dog'}"}, ("cat", "dog")),
        ({"names": "['cat', 'dog']"}, ("cat", "dog")),
        ({"classes": "cat, dog"}, ("cat", "dog")),
        ({"singaudit.classes": '["a,b", "<b>"]'}, ("a,b", "<b>")),
        ({"singaudit.classes": "a,b"}, ("a", "b")),
        ({"names": "{1: 'cat', 2: 'dog'}"}, None),
        ({"names": "__import__('os').getcwd()"}, None),
        ({"names": "(" * 100_000}, None),
        ({}, None),
    ],
)
def test_class_names_from_metadata(properties: dict[str, str], names: Any) -> None:
    assert read_metadata(properties, None).class_names == names


def test_own_metadata_with_a_mistake_is_refused_and_foreign_metadata_ignored(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"singaudit\.preprocess cannot be used"):
        read_metadata({"singaudit.preprocess": "std=0"}, None)
    with pytest.raises(ModelError, match=r"singaudit\.activation"):
        read_metadata({"singaudit.activation": "tanh"}, None)
    with pytest.raises(ModelError, match=r"singaudit\.classes"):
        read_metadata({"singaudit.classes": "[1, 2]"}, None)
    (tmp_path / "preprocessor_config.json").write_bytes(b"\xff\xfe not json")
    foreign = {"a": '{"mean": "x", "std": 3}', "b": '{"image_mean": [1], "image_std": [0]}', "c": "{"}
    assert read_metadata(foreign, tmp_path).preprocess == {}


# Pixels


def photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    channels = [128 + 100 * np.sin(x / 7 + y / 11), 128 + 90 * np.cos(x / 5), (x + y) % 256]
    return np.stack(channels, axis=2).astype(np.uint8)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (50, 61), (224, 224), (1, 9)])
def test_crop_is_torchvisions(shape: tuple[int, int]) -> None:
    """Resize(floor(224 / 0.95)), as timm does, then CenterCrop(224), by torchvision's own rounding."""
    image = Image.fromarray(photo(*shape))
    short, (width, height) = math.floor(224 / 0.95), image.size
    new = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    left, top = round((new[0] - 224) / 2), round((new[1] - 224) / 2)
    want = np.asarray(image.resize(new, Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224)))
    how = Preprocessing(224, 224, crop=0.95, interpolation="bicubic", scale=1)
    np.testing.assert_array_equal(prepare(photo(*shape), how), want.transpose(2, 0, 1).astype(np.float32))


def test_arithmetic_and_layouts() -> None:
    pixels = photo(20, 30)
    how = Preprocessing(20, 30, mode="squash", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    want = (pixels / 255.0 - np.array(how.mean)) / np.array(how.std)
    out = prepare(pixels, how)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, want.transpose(2, 0, 1), atol=2e-6)
    flat = Preprocessing(20, 30, mode="squash", layout="nhwc", channels="bgr", scale=1, mean=(1.0, 2.0, 3.0))
    np.testing.assert_allclose(prepare(pixels, flat), pixels[:, :, ::-1] - np.array([1.0, 2.0, 3.0]))
    gray = Preprocessing(20, 30, mode="squash", channels="gray", scale=1)
    np.testing.assert_array_equal(prepare(pixels, gray)[0], np.asarray(Image.fromarray(pixels).convert("L")))
    half = prepare(pixels, Preprocessing(20, 30, mode="squash", dtype="float16"))
    assert half.dtype == np.float16
    raw = prepare(pixels, Preprocessing(20, 30, mode="squash", scale=1, dtype="uint8", layout="nhwc"))
    np.testing.assert_array_equal(raw, pixels)


def test_pad_keeps_the_aspect_on_black() -> None:
    out = prepare(np.full((10, 40, 3), 255, np.uint8), Preprocessing(20, 20, mode="pad", scale=1, layout="nhwc"))
    assert out.shape == (20, 20, 3)
    assert (out[:7] == 0).all()
    assert (out[8:12] == 255).all()
    assert (out[13:] == 0).all()


@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(48, 192), (192, 48), (7, 1000), (1, 1)])
def test_any_image_gives_the_wanted_shape(mode: Any, shape: tuple[int, int]) -> None:
    for height, width in ((48, 192), (224, 224)):
        assert prepare(photo(*shape), Preprocessing(height, width, mode=mode)).shape == (3, height, width)


@pytest.mark.parametrize("crop", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_an_extreme_strip_is_cut_and_surrounded(mode: Any, crop: float) -> None:
    for shape in ((2, 5000), (5000, 2)):
        out = prepare(np.full((*shape, 3), 255, np.uint8), Preprocessing(64, 64, mode=mode, crop=crop, scale=1))
        filled = int((out[0] == 255).sum())
        side = min(64, int(64 / crop + 1e-6))
        assert filled == {"crop": 64 * side, "squash": side * side, "pad": min(64, int(64 / crop + 1e-6))}[mode]


def test_an_extreme_strip_is_not_blown_up() -> None:
    out = prepare(photo(1, 60_000), Preprocessing(224, 224))
    assert out.shape == (3, 224, 224)


@pytest.mark.parametrize(
    "text",
    ["size=0", "size=9x", "size=12.5", "crop=21",
     "crop=x", "fill=red", "fill=1/2", "fill=256", "fill=0.5", "mean=1/2", "mean=nan", "std=0", "scale=0", "scale=1/0",
     "scale=a", "mode=stretch", "layout=hwc", "nonsense", "sise=224", "crop=0.9,crop=0.9"],
)  # fmt: skip
def test_every_refusal_says_what_to_try(text):
    with pytest.raises(ConfigError) as caught:
        parse_preprocess(text)
    assert caught.value.hint
    assert "--help" not in caught.value.hint


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_crop_is_cut_from_the_whole_resized_image(interpolation):
    """Pixel for pixel what resizing everything and cropping afterwards gives, whatever is left out on the way."""
    generator = np.random.default_rng(5)
    filters = {"nearest": 0, "bilinear": 2, "bicubic": 3, "lanczos": 1}
    shapes = [(40, 40), (31, 97), (97, 31), (33, 49), (49, 33), (30, 45), (45, 30), (200, 61), (16, 20), (32, 37)]
    for height, width in shapes:
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        how = Preprocessing(28, 28, crop=0.875, interpolation=interpolation, scale=1.0, layout="nhwc", dtype="uint8")
        scaled = (32 * width // height, 32) if height <= width else (32, 32 * height // width)
        whole = Image.fromarray(pixels).resize(scaled, Image.Resampling(filters[interpolation]))
        left, top = round((scaled[0] - 28) / 2), round((scaled[1] - 28) / 2)
        expected = np.asarray(whole.crop((left, top, left + 28, top + 28)))
        np.testing.assert_array_equal(prepare(pixels, how), expected, err_msg=f"{height}x{width}")


@pytest.mark.parametrize("crop", [1.0, 0.9, 0.5])
@pytest.mark.parametrize("mode", ["border", "squash", "center"])
def test_inputs_are_those_of_timms_own_transform(mode: str, crop: float) -> None:
    import_torchvision()
    from timm.data import create_transform

    config = {
        "input_size": [3, 97, 97],
        "mean": [0.48, 0.1, 0.7],
        "std": [0.2, 0.3, 0.4],
        "crop_pct": crop,
        "crop_mode": mode,
        "interpolation": "bicubic",
    }
    theirs = create_transform(
        (3, 97, 97),
        interpolation="bicubic",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_pct=crop,
        crop_mode=mode,
    )
    how = resolve_preprocessing({}, read_timm_config(config), [None, 3, None, None], "float32")
    assert how.guessed == ()
    for shape in ((301, 343), (343, 301), (129, 97), (60, 333), (333, 61), (97, 97), (50, 40)):
        image = Image.fromarray(photo(*shape))
        np.testing.assert_allclose(prepare(np.asarray(image), how), theirs(image).numpy(), atol=2e-6)
    again = resolve_preprocessing(parse_preprocess(preprocess_text(how)), {}, [None, 3, None, None], "float32")
    assert (again.mode, again.crop, again.fill) == (how.mode, how.crop, how.fill)


def test_a_mode_of_timms_that_is_not_known_is_a_guess() -> None:
    config = {
        "input_size": [3, 96, 96],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "crop_pct": 1.0,
        "crop_mode": "mirror",
        "interpolation": "bicubic",
    }
    assert resolve_preprocessing({}, read_timm_config(config), [None, 3, None, None], "float32").guessed == ("mode",)
    assert (
        resolve_preprocessing({"mode": "pad"}, read_timm_config(config), [None, 3, None, None], "float32").guessed == ()
    )


def test_what_surrounds_an_image_has_the_stated_colour() -> None:
    stated = parse_preprocess("size=20,mode=pad,crop=2,fill=10/20/30,mean=0,std=1,scale=1")
    how = resolve_preprocessing(stated, {}, [None, 20, 20, 3], "float32")
    out = prepare(np.full((10, 40, 3), 255, np.uint8), how)
    assert (out[9:11, 5:15] == 255).all()
    assert (out[:9] == [10, 20, 30]).all()
    assert (out[:, :5] == [10, 20, 30]).all()
    bgr = resolve_preprocessing(
        {**stated, "channels": "bgr", "fill": "mean", "mean": (9, 8, 7)}, {}, [1, 20, 20, 3], "float32"
    )
    np.testing.assert_array_equal(prepare(np.full((10, 40, 3), 255, np.uint8), bgr)[0, 0], [0, 0, 0])
    assert bgr.fill == (7, 8, 9)
