"""Parts of the images into one cache, anywhere; the whole then only reads and has the same bits."""

import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from singaudit.cache.merge import differences, merge
from singaudit.cache.store import Cache, surroundings
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.config import make_config
from singaudit.dataset.sources.table import open_source
from singaudit.errors import ConfigError
from singaudit.pipeline.observe import Observer
from singaudit.pipeline.passes.features import Shard, fill_cache, parse_shard

LEAKY = str(Path(str(resources.files("singaudit"))) / "demo" / "models" / "leaky.onnx")


def quiet(stage, done, total):
    pass


def settings(cache, **more):
    return make_config(
        model=LEAKY, images="shapes:90", vlm="builtin:shapes", cache=str(cache), classes=tuple("abcdefgh"), **more
    )


def observed(config):
    observer = Observer(config, open_classifier(config.model, model_options(config)), quiet)
    return observer, observer.observe("look", open_source(config.images))


@pytest.mark.parametrize(("images", "batch"), [(100, 16), (7, 16), (0, 4), (1000, 3)])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_parts_are_every_position_once_and_begin_at_whole_batches(images, batch, count):
    edges = [Shard(i + 1, count).positions(images, batch) for i in range(count)]
    assert [p for start, end in edges for p in range(start, end)] == list(range(images))
    assert all(start % batch == 0 or start == images for start, _ in edges)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "-1/2", "1/0", "1/4/2", ""])
def test_a_part_out_of_range_is_one_message(text):
    with pytest.raises(ConfigError, match="expected --shard I/N"):
        parse_shard(text)
    assert parse_shard("3/4") == Shard(3, 4)


def test_parts_filled_apart_are_read_as_one_with_the_same_bits(tmp_path):
    for i in (2, 1, 3):
        found = fill_cache(settings(tmp_path / f"part{i}"), Shard(i, 3), quiet)
        assert found["computed"] == {
            "classifier": found["images"],
            "encoder": found["images"],
            "thumbnail": found["images"],
        }
    again = fill_cache(settings(tmp_path / "part3"), Shard(3, 3), quiet)
    assert set(again["computed"].values()) == {0}
    for i in (1, 2, 3):
        assert merge(Cache(tmp_path / "whole"), tmp_path / f"part{i}")["unused"] == []
    observer, whole = observed(settings(tmp_path / "whole"))
    assert set(observer.computed().values()) == {0}
    _, plain = observed(settings("none"))
    assert whole.sha256 == plain.sha256
    for key, arrays in plain.outputs.items():
        for mine, theirs in zip(whole.outputs[key], arrays, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_what_other_versions_made_is_told_and_not_used(tmp_path, caplog):
    fill_cache(settings(tmp_path / "there", limit=20), Shard(1, 1), quiet)
    shelf = next((tmp_path / "there").glob("features-*"))
    about = json.loads((shelf / "identity.json").read_text())
    about["versions"]["onnxruntime"] = "0.9"
    (shelf / "identity.json").write_text(json.dumps(about))
    assert any(
        "onnxruntime 0.9 (here" in line for line in merge(Cache(tmp_path / "whole"), tmp_path / "there")["unused"]
    )
    shutil.move(shelf, shelf.parent / f"features-{'0' * 40}")
    observed(settings(tmp_path / "there", limit=20))
    assert "not used here: they were made with" in caplog.text
    assert "onnxruntime 0.9" in caplog.text
    assert differences(surroundings(), surroundings()) == []


def test_nothing_to_merge_is_one_message(tmp_path):
    with pytest.raises(ConfigError, match="expected a folder that singaudit filled"):
        merge(Cache(tmp_path / "whole"), tmp_path)


def test_features_need_images_and_a_cache():
    with pytest.raises(ConfigError, match="expected images"):
        fill_cache(make_config(model=LEAKY), Shard(1, 1), quiet)
    with pytest.raises(ConfigError, match="expected a cache"):
        fill_cache(settings("none"), Shard(1, 1), quiet)
