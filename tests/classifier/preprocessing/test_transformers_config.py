"""What transformers' image processors do with a photograph, and what is read from their documents, are the same."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from singaudit.classifier.preprocessing.metadata import read_metadata
from singaudit.classifier.preprocessing.pixels import prepare
from singaudit.classifier.preprocessing.resolve import resolve_preprocessing
from singaudit.classifier.preprocessing.syntax import parse_preprocess
from singaudit.classifier.preprocessing.transformers_config import read_processor_config
from singaudit.report.build.scores import preprocess_text
from singaudit.torchvision_import import import_torchvision

SHAPES = [(301, 343), (343, 301), (129, 97), (60, 333), (333, 61), (224, 224), (500, 341)]


def photo(height: int, width: int) -> Image.Image:
    coarse = np.random.default_rng(height).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def made(name: str, **settings: Any) -> Any:
    """The processor that works on Pillow's pixels; what works on tensors differs from it by rounding."""
    import_torchvision()
    import transformers

    kind = getattr(transformers, f"{name}ImageProcessorPil", None) or getattr(transformers, f"{name}ImageProcessor")
    return kind(**settings)


def read(processor: Any) -> dict[str, Any]:
    return read_processor_config(json.loads(processor.to_json_string()))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ViT", {}),
        ("Beit", {}),
        ("Beit", {"size": {"height": 256, "width": 256}, "do_center_crop": True}),
        ("DeiT", {}),
        ("Bit", {}),
        ("CLIP", {}),
        ("ConvNext", {}),
        ("ConvNext", {"size": {"shortest_edge": 224}}),
        ("ConvNext", {"size": {"shortest_edge": 288}, "crop_pct": 0.95}),
        ("EfficientNet", {}),
        ("EfficientNet", {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False}),
        ("Levit", {}),
        ("MobileNetV1", {}),
        ("MobileNetV2", {}),
        ("MobileViT", {"size": {"shortest_edge": 288}}),
        ("MobileViT", {"size": {"shortest_edge": 224}, "crop_size": {"height": 256, "width": 256}}),
        ("CLIP", {"size": {"shortest_edge": 97}, "crop_size": {"height": 130, "width": 130}}),
        ("DeiT", {"size": {"height": 100, "width": 100}, "crop_size": {"height": 131, "width": 131}}),
        ("PoolFormer", {}),
        ("PoolFormer", {"crop_pct": 0.95}),
        ("Pvt", {}),
        ("Segformer", {}),
        ("Siglip", {}),
        ("ViT", {"size": {"height": 61, "width": 80}, "do_normalize": False}),
        ("ViT", {"do_rescale": False, "image_mean": [100.0, 110.0, 120.0], "image_std": [50.0, 60.0, 70.0]}),
    ],
)
def test_inputs_are_the_processors_own(name: str, settings: dict[str, Any]) -> None:
    processor = made(name, **settings)
    how = resolve_preprocessing({}, read(processor), [None, 3, None, None], "float32")
    assert not how.guessed
    for shape in SHAPES:
        image = photo(*shape)
        theirs = np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0], np.float64)
        np.testing.assert_allclose(prepare(np.asarray(image), how), theirs, atol=1e-5 * np.ptp(theirs))
    # What is shown can be given back.
    again = resolve_preprocessing(parse_preprocess(preprocess_text(how)), {}, [None, 3, None, None], "float32")
    image = np.asarray(photo(*SHAPES[0]))
    np.testing.assert_allclose(prepare(image, again), prepare(image, how), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Perceiver", {}),
        ("CLIP", {"do_center_crop": False}),
        ("ViT", {"do_resize": False}),
        ("DeiT", {"size": {"height": 256, "width": 300}}),
    ],
)
def test_what_no_mode_here_does_is_a_guess(name: str, settings: dict[str, Any]) -> None:
    keys = read(made(name, **settings))
    how = resolve_preprocessing({}, keys, [None, 3, 224, 224], "float32")
    assert {"mode", "crop"} <= set(how.guessed)
    stated = resolve_preprocessing({"mode": "squash", "crop": 1.0}, keys, [None, 3, 224, 224], "float32")
    assert stated.guessed == ()


def test_older_documents_mean_squares_by_one_number_where_their_processor_does() -> None:
    usual = {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    square = read_processor_config({**usual, "feature_extractor_type": "DeiTFeatureExtractor", "size": 256,
                              "do_center_crop": True, "crop_size": 224})  # fmt: skip
    assert (square["mode"], square["crop"], square["size"]) == ("squash", 224 / 256, (224, 224))
    covering = read_processor_config({**usual, "feature_extractor_type": "CLIPFeatureExtractor", "size": 224,
                                "do_center_crop": True, "crop_size": 224})  # fmt: skip
    assert (covering["mode"], covering["crop"], covering["size"]) == ("crop", 1.0, (224, 224))


def test_a_processor_that_is_not_known_is_read_as_usual_and_said_to_be_a_guess() -> None:
    document = {
        "image_processor_type": "NewestImageProcessor",
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "size": {"height": 96, "width": 96},
    }
    how = resolve_preprocessing({}, read_processor_config(document), [None, 3, None, None], "float32")
    assert (how.height, how.mode, how.mean) == (96, "squash", (0.5, 0.5, 0.5))
    assert set(how.guessed) == {"mode", "crop"}


def test_mobilevits_document_which_names_no_mean_is_understood() -> None:
    document = {"crop_size": 256, "do_center_crop": True, "do_flip_channel_order": True, "do_resize": True,
                "feature_extractor_type": "MobileViTFeatureExtractor", "resample": 2, "size": 288}  # fmt: skip
    how = resolve_preprocessing({}, read_processor_config(document), [None, 3, None, None], "float32")
    assert (how.mode, how.height, how.channels, how.mean, how.std) == ("crop", 256, "bgr", (0.0,), (1.0,))
    assert how.guessed == ()


@pytest.mark.parametrize(
    "lie",
    ['"size": 0', '"size": {"height": 0, "width": 5}', '"size": {"shortest_edge": 1e999}', '"crop_size": -3',
     '"size": {"shortest_edge": 100000000000}', '"rescale_factor": NaN', '"rescale_factor": 0',
     '"image_std": [0, 0, 0]', '"size": "big"', '"size": [1, 2]', '"resample": [3]', '"crop_pct": "x"'],
)  # fmt: skip
def test_documents_that_lie_count_as_absent(lie: str) -> None:
    usual = {"do_center_crop": True, "crop_size": 224, "size": 256, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    key = lie.split(":")[0].strip('"')
    rest = json.dumps({name: value for name, value in usual.items() if name != key})
    found = read_metadata({"preprocessor": rest[:-1] + ", " + lie + "}"}, None).preprocess
    assert found == {} or (found["size"] == (224, 224) and found["guesses"])


@pytest.mark.parametrize("kind", ["CLIP", "ViT", "Bit", "ConvNext"])
@pytest.mark.parametrize("inside", [False, True])
def test_what_a_configuration_leaves_out_is_its_classs_default(kind: str, inside: bool) -> None:
    import_torchvision()
    import transformers

    named = {"image_processor_type": f"{kind}ImageProcessor", "do_resize": True}
    document = {"image_processor": named, "processor_class": f"{kind}Processor"} if inside else named
    said = read_metadata({"preprocessor_config": json.dumps(document)}, None)
    how = resolve_preprocessing({}, said.preprocess, [None, 3, None, None], "float32")
    assert how.guessed == ()
    own = getattr(transformers, f"{kind}ImageProcessorPil", None) or getattr(transformers, f"{kind}ImageProcessor")
    pixels = np.random.default_rng(5).integers(0, 256, (300, 421, 3), dtype=np.uint8)
    theirs = own()(images=[Image.fromarray(pixels)], return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(prepare(pixels, how), theirs, atol=1e-5)
