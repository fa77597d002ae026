"""Recipes: picklable, they open the very model that was meant, and refuse another."""

import pickle
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import ModelOptions
from singaudit.errors import LanguageError, ModelError
from singaudit.language.encoders.table import BUILTIN, open_encoder
from singaudit.pipeline.passes.recipes import ClassifierRecipe, EncoderRecipe

LEAKY = str(Path(str(resources.files("singaudit"))) / "demo" / "models" / "leaky.onnx")
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3)).astype(np.uint8)


def outputs(model):
    return model.compute(np.stack([model.prepare(one) for one in PIXELS]))


def test_a_classifier_that_travelled_as_a_recipe_computes_the_same_bits():
    here = open_classifier(LEAKY, ModelOptions())
    there = pickle.loads(pickle.dumps(ClassifierRecipe(LEAKY, ModelOptions(), here.sha256))).open()
    inputs = np.stack([there.prepare(one) for one in PIXELS])
    for mine, theirs in zip(here.forward(inputs), there.compute(inputs), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_encoder_that_travelled_as_a_recipe_computes_the_same_bits():
    here = open_encoder(BUILTIN)
    there = pickle.loads(pickle.dumps(EncoderRecipe(BUILTIN, "cpu", "fp32", here.revision))).open()
    np.testing.assert_array_equal(here.encode_images(np.stack([here.prepare(p) for p in PIXELS])), outputs(there)[0])


def test_another_model_than_was_meant_is_refused(tmp_path):
    with pytest.raises(ModelError, match="expected the model"):
        ClassifierRecipe(LEAKY, ModelOptions(), "0" * 64).open()
    with pytest.raises(LanguageError, match="of revision 0000"):
        EncoderRecipe(BUILTIN, "cpu", "fp32", "0" * 64).open()
    with pytest.raises(ModelError):
        ClassifierRecipe(str(tmp_path / "gone.onnx"), ModelOptions(), "0" * 64).open()
