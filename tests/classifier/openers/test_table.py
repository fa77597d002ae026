"""Whatever a user names as a classifier is opened by one call, and carries the graph that is run."""

import pytest

from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import ModelOptions
from singaudit.errors import ConfigError, ModelError


def test_a_classifier_of_the_embedded_world_is_opened_by_name(models):
    classifier = open_classifier("builtin:leaky")
    assert classifier.name == "leaky.onnx"
    assert classifier.path == models / "leaky.onnx"


def test_a_file_is_opened_by_its_path_and_with_what_the_user_says(models):
    classifier = open_classifier(str(models / "clean.onnx"), ModelOptions(activation="sigmoid"))
    assert classifier.head.activation == "sigmoid"
    assert classifier.path == models / "clean.onnx"


def test_an_unknown_name_of_the_embedded_world_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"one of clean, leaky.* after builtin:, got 'lleaky'"):
        open_classifier("builtin:lleaky")


def test_an_empty_name_is_refused():
    with pytest.raises(ModelError, match="empty name"):
        open_classifier("")
