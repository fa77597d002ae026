"""Images of an object store, over a loopback server that speaks S3's protocol."""

import hashlib
import io
import json
import subprocess
import sys

import PIL.Image
import pytest
import s3_server
from command_line import typed
from image_files import png, values

from singaudit.dataset.interface import Skipped
from singaudit.dataset.labels import resolve_labels
from singaudit.dataset.sources import object_store
from singaudit.dataset.sources.table import SOURCES, open_source
from singaudit.errors import DatasetError, MachineError

pytest.importorskip("s3fs", reason="needs the extra s3")

OBJECTS = {
    "photos/pets/cat/1.png": png(1),
    "photos/pets/cat/2.png": png(2),
    "photos/pets/dog/3.png": png(3),
    "photos/pets/dog/broken.png": b"nonsense",
    "photos/pets/dog/film.mp4": b"film",
    "photos/pets/.hidden/4.png": png(4),
    "photos/pets/metadata.csv": b"file_name,label\n",
    "photos/petshop/5.png": png(5),
}


@pytest.fixture
def bucket(monkeypatch):
    """(objects, what was asked for); a page of a listing holds three."""
    import s3fs

    objects = dict(OBJECTS)
    with s3_server.serve(objects, page=3) as (url, asked):
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-north-1",
        }.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield objects, asked
        s3fs.S3FileSystem.clear_instance_cache()


def test_images_are_listed_once_and_read_one_by_one_with_folders_as_labels(bucket):
    found = open_source("s3://photos/pets/")
    assert found.names == ["cat/1.png", "cat/2.png", "dog/3.png", "dog/broken.png"]
    assert not [path for path in bucket[1] if path.startswith("/photos/pets/")]
    loaded = [found.load(i) for i in range(len(found))]
    assert [image.sha256 for image in loaded[:3]] == [hashlib.sha256(png(i)).hexdigest() for i in (1, 2, 3)]
    assert isinstance(loaded[3], Skipped)
    assert resolve_labels(found, "auto", ("cat", "dog"))[0] == [0, 0, 1, 1]
    left = {skipped.name: skipped.reason for skipped in found.left_out}
    assert "--labels" in left.pop("metadata.csv")
    assert list(left) == ["dog/film.mp4"]


def test_a_key_is_no_path(bucket):
    bucket[0].update({"photos/odd/a//1.png": png(7), "photos/odd/b/../2.png": png(8)})
    found = open_source("s3://photos/odd")
    assert (found.names, values(found)) == (["a//1.png"], [7])


def test_every_scheme_has_the_extra_that_reads_it():
    (source,) = (source for source in SOURCES if source.function == "open_objects")
    assert {f"{scheme}://" for scheme in object_store.EXTRAS} == set(source.prefix)


def test_one_split_is_taken(bucket):
    bucket[0].update({"photos/split/test/a/1.png": png(7), "photos/split/train/a/1.png": png(8)})
    found = open_source("s3://photos/split")
    assert values(found) == [7]
    assert [skipped.name for skipped in found.left_out] == ["train"]


def test_an_object_that_went_away_or_is_too_large_is_left_out(bucket, monkeypatch):
    found = open_source("s3://photos/pets")
    del bucket[0]["photos/pets/cat/2.png"]
    gone = found.load(1)
    assert isinstance(gone, Skipped)
    assert "object store" in gone.reason
    monkeypatch.setattr(object_store, "MAX_BYTES", 20)
    assert "over the limit" in found.load(0).reason
    with pytest.raises(DatasetError, match="holds none; left out"):
        open_source("s3://photos/petshop")


@pytest.mark.parametrize(
    ("text", "match"),
    [("s3://photos/none", "holds none"), ("s3://photos::file:///etc", "chains"), ("gs://photos/pets", "not installed")],
)
def test_what_is_no_folder_of_images_is_one_message(text, match, bucket):
    with pytest.raises(DatasetError, match=match) as raised:
        open_source(text)
    assert raised.value.hint


def test_a_store_that_cannot_be_reached_is_the_machines_fault(bucket, monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(MachineError, match="cannot be listed"):
        open_source("s3://photos/pets")


def test_a_column_of_labels_is_for_tables(bucket):
    with pytest.raises(DatasetError, match="a folder of an object store"):
        open_source("s3://photos/pets", "label")


def test_an_audit_of_a_bucket_is_that_of_the_folder(bucket, tmp_path):
    shapes = open_source("shapes:60:3")
    for i in range(60):
        file = io.BytesIO()
        PIL.Image.fromarray(shapes.load(i).pixels).save(file, "PNG")
        (tmp_path / "im").mkdir(exist_ok=True)
        (tmp_path / "im" / f"{i:02}.png").write_bytes(file.getvalue())
        bucket[0][f"photos/im/{i:02}.png"] = file.getvalue()
    results = []
    for images in ("im", "s3://photos/im"):
        words = ["run", "builtin:leaky", "--images", images, "--vlm", "builtin:shapes", "--report", "json"]
        done = typed(*words, "-o", "out", "--force", "--generate", "0", cwd=tmp_path)
        assert done.exit_code == 4, done.stderr
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        results.append({part: result[part] for part in ("scores", "findings", "controls", "concepts")})
    assert results[0] == results[1]


def test_no_client_is_imported_before_a_store_is_named():
    code = "import sys, singaudit.dataset.sources.object_store; sys.exit('fsspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
