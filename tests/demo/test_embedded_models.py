from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

import singaudit.demo
from singaudit.classifier.preprocessing.syntax import parse_preprocess
from singaudit.dataset.generated.drawing import render
from singaudit.dataset.generated.scenes import ATTRIBUTES, draw_scenes
from singaudit.torchvision_import import import_torchvision

import_torchvision()

DEMO = Path(singaudit.demo.__file__).parent
MODELS = DEMO / "models"
CLIP = MODELS / "clip-shapes"
CLASSIFIERS = {
    "clean": (ATTRIBUTES["shape"], 64),
    "leaky": (ATTRIBUTES["shape"], 64),
    "spurious": (ATTRIBUTES["shape"], 64),
    "two-class": (("round", "angular"), 64),
    "no-null-space": (ATTRIBUTES["shape"], 6),
}
ROUND = ("circle", "ring", "heart", "crescent")
IMAGES = 1500
UNSEEN = 77
"""A world that neither training nor the recorded measurements looked at."""


@pytest.fixture(scope="module")
def world():
    scenes = draw_scenes(np.arange(IMAGES), UNSEEN)
    pixels = np.concatenate([render(draw_scenes(np.arange(k, k + 100), UNSEEN)) for k in range(0, IMAGES, 100)])
    return scenes, pixels


@pytest.fixture(scope="module")
def record():
    return json.loads((MODELS / "record.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def clip():
    from transformers import AutoModel, AutoTokenizer

    return AutoModel.from_pretrained(CLIP).eval(), AutoTokenizer.from_pretrained(CLIP)


def _texts(clip, texts):
    model, tokenizer = clip
    with torch.inference_mode():
        found = model.text_model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt"))
        return torch.nn.functional.normalize(model.text_projection(found.pooler_output), dim=-1).numpy()


@pytest.fixture(scope="module")
def embeddings(clip, world):
    from PIL import Image
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(CLIP)
    parts = []
    with torch.inference_mode():
        for first in range(0, IMAGES, 250):
            images = [Image.fromarray(pixels) for pixels in world[1][first : first + 250]]
            states = clip[0].vision_model(**processor(images=images, return_tensors="pt"))
            parts.append(torch.nn.functional.normalize(clip[0].visual_projection(states.pooler_output), dim=-1))
    return torch.cat(parts).numpy()


def test_packages_stay_small():
    assert sum(file.stat().st_size for file in CLIP.iterdir()) <= 5_000_000
    for name in CLASSIFIERS:
        assert (MODELS / f"{name}.onnx").stat().st_size <= 1_500_000


def test_clip_computes_in_float32_unless_told_otherwise(clip):
    assert clip[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("group", "frames", "floor"),
    [
        ("shape", ("an image of a {}", "a photo of a {}.", "a picture of a {}"), 0.95),
        ("colour", ("an image of a {} shape", "a photo of a {} shape."), 0.99),
        ("background_colour", ("an image of a shape on a {} background",), 0.99),
        ("background_pattern", ("an image of a shape on a {} background",), 0.99),
        ("texture", ("an image of a {} shape", "a photo of a {} shape"), 0.98),
        ("size", ("an image of a {} shape", "a photo of a {} shape"), 0.98),
    ],
)
def test_clip_reads_every_attribute(clip, embeddings, world, group, frames, floor):
    prompts = [[frame.format(value) for frame in frames] for value in ATTRIBUTES[group]]
    texts = np.stack([_texts(clip, ensemble).mean(0) for ensemble in prompts])
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    hits = (embeddings @ texts.T).argmax(1) == getattr(world[0], group)
    assert hits.mean() >= floor


def test_concept_file_is_readable_by_the_clip(clip, embeddings, world):
    groups = tomllib.loads((DEMO / "concepts.toml").read_text(encoding="utf-8"))
    assert set(groups) == set(ATTRIBUTES) - {"shape"}
    for name, group in groups.items():
        assert tuple(group["values"]) == ATTRIBUTES[name]
        texts = _texts(clip, [group["template"].format(value) for value in group["values"]])
        assert ((embeddings @ texts.T).argmax(1) == getattr(world[0], name)).mean() >= 0.98, name


def test_a_prompt_that_names_nothing_takes_no_side(clip, embeddings):
    bare = np.degrees(np.arccos(embeddings @ _texts(clip, ["an image"])[0]))
    assert bare.std() < 6


@pytest.mark.parametrize(
    "text", ["", "a zebra crossing", "\u6f22\u5b57", "\U0001f642 \x00 \u00e9", "word " * 500, "<|endoftext|>"]
)
def test_texts_it_does_not_know_do_no_harm(clip, text):
    assert np.isfinite(_texts(clip, [text])).all()


def test_processor_bundles_both_halves():
    from transformers import AutoProcessor

    inputs = AutoProcessor.from_pretrained(CLIP)(
        text=["a red star"], images=[np.zeros((100, 80, 3), dtype=np.uint8)], return_tensors="pt"
    )
    assert inputs["pixel_values"].shape == (1, 3, 64, 64)
    assert float(inputs["pixel_values"].max()) == -1.0
    assert inputs["input_ids"].shape == (1, 5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_file_says_all_that_is_needed(name):
    classes, width = CLASSIFIERS[name]
    model = onnx.load(str(MODELS / f"{name}.onnx"))
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert tuple(json.loads(facts["singaudit.classes"])) == classes
    assert facts["singaudit.activation"] == "softmax"
    assert parse_preprocess(facts["singaudit.preprocess"])["size"] == (64, 64)
    head = model.graph.node[-1]
    assert head.op_type == "Gemm"
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert weights[head.input[1]].shape == (len(classes), width)
    assert np.linalg.matrix_rank(weights[head.input[1]]) == min(len(classes), width)


def _logits(name, pixels):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(MODELS / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
    images = ((pixels.astype(np.float32) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    return session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images)})[0]


@pytest.mark.parametrize(
    ("name", "floor"), [("clean", 0.95), ("leaky", 0.95), ("two-class", 0.95), ("no-null-space", 0.9)]
)
def test_classifier_is_right_on_unseen_images(world, name, floor):
    scenes, pixels = world
    truth = scenes.shape
    if name == "two-class":
        truth = np.asarray([shape not in ROUND for shape in ATTRIBUTES["shape"]], dtype=np.int64)[truth]
    assert (_logits(name, pixels).argmax(1) == truth).mean() >= floor


def test_spurious_classifier_believes_the_colour(world):
    scenes, pixels = world
    linked = render(draw_scenes(np.arange(500), UNSEEN).with_values(colour=scenes.shape[:500]))
    assert (_logits("spurious", linked).argmax(1) == scenes.shape[:500]).mean() >= 0.98
    free = _logits("spurious", pixels).argmax(1)
    wrong = free != scenes.shape
    assert wrong.mean() > 0.02
    assert (free[wrong] == scenes.colour[wrong]).mean() > 0.4


def test_record_describes_the_files(record):
    assert set(record["models"]) == {"clip-shapes", *CLASSIFIERS}
    for name, facts in record["models"].items():
        assert facts["steps"] > 0
        assert facts["cpu_minutes"] > 0
        assert isinstance(facts["seed"], int)
        weights = CLIP / "model.safetensors" if name == "clip-shapes" else MODELS / f"{name}.onnx"
        stored = weights.stat().st_size / facts["parameters"]
        assert 1.9 < stored < (2.2 if name == "clip-shapes" else 4.4)
    assert record["versions"]["torch"]


def test_recorded_leak_is_where_it_was_planted(record):
    share = {name: record["models"][name]["carried"]["attributes"]["colour"] for name in ("clean", "leaky")}
    assert share["leaky"]["carried_share"][1] >= 0.6
    assert abs(share["clean"]["contrast_deg"]) < 1
    assert share["leaky"]["contrast_deg"] > 10
