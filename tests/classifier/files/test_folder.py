"""A model folder leads to plain files inside it, and nowhere else."""

import os

import pytest
from tiny_networks import write_json

from singaudit.classifier.files.folder import inner_file, read_json, shards
from singaudit.errors import ModelError


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "a\\b", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    write_json(tmp_path / "i.json", {"weight_map": {"w": name}})
    with pytest.raises(ModelError, match="expected a plain file name"):
        shards(tmp_path, "i.json")


def test_links_out_of_the_folder_are_refused_but_those_of_the_hubs_cache_are_followed(tmp_path):
    (tmp_path / "secret").write_text("{}")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="link out of the model's folder"):
        inner_file(folder, "config.json")
    cached = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    cached.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text("{}")
    (cached / "config.json").symlink_to("../../blobs/abc")
    assert inner_file(cached, "config.json").read_text() == "{}"
    (cached / "other.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="link out"):
        inner_file(cached, "other.json")


def test_fifos_and_folders_in_the_place_of_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    (tmp_path / "model.safetensors").mkdir()
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(ModelError, match="not a regular file"):
            inner_file(tmp_path, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[" * 100_000, "is not JSON"), ("[]", "expected a JSON object"), ("{", "is not JSON"), ("\xff", "is not JSON")],
)
def test_documents_that_are_no_objects_are_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=message):
        read_json(tmp_path / "config.json")


def test_a_document_beyond_its_size_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as stream:
        stream.truncate(17 << 20)
    with pytest.raises(ModelError, match="at most 16 MiB"):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("document", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"w": 3}}])
def test_a_shard_index_without_a_map_is_refused(tmp_path, document):
    write_json(tmp_path / "i.json", document)
    with pytest.raises(ModelError, match="no weight_map"):
        shards(tmp_path, "i.json")
