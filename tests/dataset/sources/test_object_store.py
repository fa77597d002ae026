"""Images of object stores, over loopback servers that speak their protocols to the clients that people install."""

import hashlib
import importlib.util
import io
import itertools
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

import azure_server
import fsspec
import gcs_server
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


CLIENTS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
SERVERS = {"s3": s3_server, "gs": gcs_server, "az": azure_server}


class Objects(dict):
    """What a server holds, each looked up in ``pause`` seconds."""

    pause = 0.0

    def __getitem__(self, path):
        time.sleep(self.pause)
        return super().__getitem__(path)


@dataclass
class Bucket:
    """A bucket of one kind of store, on a server of this machine."""

    scheme: str
    objects: Objects
    asked: list[str]

    def uri(self, path):
        return f"{self.scheme}://{path}"


def variables(scheme, url, signed, tmp_path):
    """What tells a client of the server at ``url``, and of credentials, in the variables that it reads by itself."""
    if scheme == "s3":
        key = s3_server.KEY if signed else "other"
        secret = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-north-1"}
        return {"AWS_ENDPOINT_URL": url, **secret}
    if scheme == "gs":
        file = tmp_path / "google.json"
        secret = {"client_id": "a", "client_secret": "b", "refresh_token": "c", "token": gcs_server.TOKEN}
        file.write_text(json.dumps({"type": "authorized_user", **secret, "expiry": "2099-01-01T00:00:00Z"}))
        # No other credentials: of this machine or its user.
        alone = {"NO_GCE_CHECK": "true", "CLOUDSDK_CONFIG": str(tmp_path / "none")}
        return {"STORAGE_EMULATOR_HOST": url, "GOOGLE_APPLICATION_CREDENTIALS": str(file) if signed else "", **alone}
    account = azure_server.ACCOUNT
    secret = f"AccountName={account};AccountKey=a2V5;" if signed else ""
    return {"AZURE_STORAGE_CONNECTION_STRING": f"{secret}BlobEndpoint={url}/{account};"}


@pytest.fixture
def point(monkeypatch, tmp_path):
    """Points the client of a scheme to a server."""

    def to(scheme, url, signed=True):
        # Not imported here: which of its classes gcsfs takes is decided when it is.
        if importlib.util.find_spec(CLIENTS[scheme]) is None:
            pytest.skip(f"needs the package {CLIENTS[scheme]}")
        monkeypatch.setitem(fsspec.config.conf, scheme, {"skip_instance_cache": True})
        for name, value in variables(scheme, url, signed, tmp_path).items():
            monkeypatch.setenv(name, value)

    return to


@pytest.fixture(params=CLIENTS)
def bucket(request, point):
    """A bucket of each kind; a page of a listing holds three."""
    objects = Objects(OBJECTS)
    with SERVERS[request.param].serve(objects, page=3) as (url, asked):
        point(request.param, url)
        yield Bucket(request.param, objects, asked)


@pytest.fixture(params=CLIENTS)
def unreachable(request, point):
    """The URI of a folder in a store whose port is closed."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        point(request.param, f"http://127.0.0.1:{port.getsockname()[1]}")
        yield f"{request.param}://photos/pets"


@pytest.fixture(params=CLIENTS)
def silent(request, point):
    """The URI of a folder in a store that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as port:
        point(request.param, f"http://127.0.0.1:{port.getsockname()[1]}")
        yield f"{request.param}://photos/pets"


def test_images_are_listed_once_and_read_one_by_one_with_folders_as_labels(bucket):
    found = open_source(bucket.uri("photos/pets/"))
    assert found.names == ["cat/1.png", "cat/2.png", "dog/3.png", "dog/broken.png"]
    # Every key was listed by one request for its page, and none was asked for by itself.
    listings = [path for path in bucket.asked if "prefix=pets" in path]
    assert len(listings) == len(set(listings)) == 3
    assert not [
        path for path in bucket.asked if "/pets/" in path.partition("?")[0] or "pets%2F" in path.partition("?")[0]
    ]
    bucket.asked.clear()
    loaded = [found.load(i) for i in range(len(found))]
    assert len(bucket.asked) == len(found)
    assert [image.sha256 for image in loaded[:3]] == [hashlib.sha256(png(i)).hexdigest() for i in (1, 2, 3)]
    assert isinstance(loaded[3], Skipped)
    assert resolve_labels(found, "auto", ("cat", "dog"))[0] == [0, 0, 1, 1]
    left = {skipped.name: skipped.reason for skipped in found.left_out}
    assert "--labels" in left.pop("metadata.csv")
    assert list(left) == ["dog/film.mp4"]


def test_a_whole_bucket_is_a_folder(bucket):
    found = open_source(bucket.uri("photos"))
    assert found.names[-1] == "petshop/5.png"
    assert values(found)[-1] == 5


def test_a_key_is_no_path(bucket):
    odd = {"a//1.png": 7, "c#1.png": 9, "d?e=1.png": 10, "f%20g.png": 11, "h i+é&{0}.png": 12}
    bucket.objects.update({f"photos/odd/{key}": png(value) for key, value in odd.items()})
    bucket.objects["photos/odd/b/../2.png"] = png(8)
    found = open_source(bucket.uri("photos/odd"))
    assert dict(zip(found.names, values(found), strict=True)) == odd


def test_every_scheme_has_the_extra_that_reads_it():
    (source,) = (source for source in SOURCES if source.function == "open_objects")
    assert {f"{scheme}://" for scheme in object_store.EXTRAS} == set(source.prefix)


@pytest.mark.parametrize(
    ("scheme", "uri"),
    [
        ("gs", "gcs://photos/petshop"),
        ("az", "abfs://photos/petshop"),
        ("az", f"abfss://photos@{azure_server.ACCOUNT}.dfs.core.windows.net/petshop"),
    ],
)
def test_a_store_has_several_schemes(scheme, uri, point, monkeypatch):
    with SERVERS[scheme].serve(dict(OBJECTS)) as (url, _):
        point(scheme, url)
        monkeypatch.setitem(fsspec.config.conf, uri.partition(":")[0], {"skip_instance_cache": True})
        assert values(open_source(uri)) == [5]


def test_one_split_is_taken(bucket):
    bucket.objects.update({"photos/split/test/a/1.png": png(7), "photos/split/train/a/1.png": png(8)})
    found = open_source(bucket.uri("photos/split"))
    assert values(found) == [7]
    assert [skipped.name for skipped in found.left_out] == ["train"]


def test_an_object_that_went_away_or_is_too_large_is_left_out(bucket, monkeypatch):
    found = open_source(bucket.uri("photos/pets"))
    del bucket.objects["photos/pets/cat/2.png"]
    gone = found.load(1)
    assert isinstance(gone, Skipped)
    assert "object store" in gone.reason
    monkeypatch.setattr(object_store, "MAX_BYTES", 20)
    assert "over the limit" in found.load(0).reason
    with pytest.raises(DatasetError, match="holds none; left out"):
        open_source(bucket.uri("photos/petshop"))


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("photos/none", "holds none"),
        ("nowhere/pets", "holds none"),
        ("photos/pets/cat/1.png", "holds none"),
        ("photos::file:///etc", "chains"),
    ],
)
def test_what_is_no_folder_of_images_is_one_message(path, match, bucket):
    with pytest.raises(DatasetError, match=match) as raised:
        open_source(bucket.uri(path))
    assert raised.value.hint


@pytest.mark.parametrize("scheme", object_store.EXTRAS)
def test_a_store_whose_client_is_not_installed_is_one_message(scheme, monkeypatch):
    def lacking(text):
        raise ImportError

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacking)
    with pytest.raises(DatasetError, match=f"reads {scheme}:// URIs; it is not installed") as raised:
        open_source(f"{scheme}://photos/pets")
    assert f"singaudit[{object_store.EXTRAS[scheme]}]" in raised.value.hint


def test_a_store_that_cannot_be_reached_is_the_machines_fault(unreachable, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(object_store, "_PATIENCE", 1.0)
    with pytest.raises(MachineError, match=r"cannot be listed: .+"):
        open_source(unreachable)


def test_a_store_that_never_answers_is_not_waited_for(silent, monkeypatch):
    monkeypatch.setattr(object_store, "_PATIENCE", 1.0)
    began = time.monotonic()
    with pytest.raises(MachineError, match="cannot be listed: no answer within 1 seconds"):
        open_source(silent)
    assert time.monotonic() - began < 60  # clients try again for up to ten minutes


def test_a_long_listing_of_a_store_that_answers_is_waited_for(bucket, monkeypatch):
    # The listing takes longer than its patience; the questions meanwhile may take as long as a busy machine does.
    bucket.objects.pause = 0.4
    monkeypatch.setattr(object_store, "_PATIENCE", 1.0)
    answered, ask = [], object_store._asked

    def asked(store, root):
        with monkeypatch.context() as patch:
            patch.setattr(object_store, "_PATIENCE", 60.0)
            answered.append(ask(store, root))

    monkeypatch.setattr(object_store, "_asked", asked)
    assert len(open_source(bucket.uri("photos/pets"))) == 4
    assert answered


@pytest.mark.parametrize("scheme", CLIENTS)
def test_the_client_finds_its_credentials_and_a_store_that_refuses_is_said(scheme, point):
    with SERVERS[scheme].serve({"private/pets/1.png": png(1)}) as (url, _):
        point(scheme, url, signed=False)
        with pytest.raises(MachineError, match="cannot be listed") as raised:
            open_source(f"{scheme}://private/pets")
        assert "credentials" in raised.value.hint
        point(scheme, url)
        assert values(open_source(f"{scheme}://private/pets")) == [1]


def test_reading_ends_where_a_store_has_been_dead_for_long(bucket, monkeypatch):
    # A clock on which a second passes at every look, however busy the machine is.
    monkeypatch.setattr(object_store, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    monkeypatch.setattr(object_store, "_GIVING_UP", 1.5)
    found = open_source(bucket.uri("photos/pets"))

    def load(index, pause, reading):
        bucket.objects.pause = pause
        monkeypatch.setattr(object_store, "_READING", reading)
        return found.load(index)

    assert load(0, 5.0, 1.0).reason == "cannot be read from the object store: no answer within 1 seconds"
    assert not isinstance(load(1, 0.0, 60.0), Skipped)
    assert isinstance(load(2, 5.0, 1.0), Skipped), "what was waited for before an object arrived does not count"
    with pytest.raises(MachineError, match="cannot be read any more"):
        load(0, 5.0, 1.0)


def test_azure_without_an_account_says_how_to_name_one(point, monkeypatch):
    point("az", "")
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    with pytest.raises(DatasetError) as raised:
        open_source("az://photos/pets")
    assert "AZURE_STORAGE_CONNECTION_STRING" in raised.value.hint


def test_clients_print_nothing(bucket):
    bucket.objects["photos/pets/empty.png"] = b""
    code = (
        "import sys; from singaudit.dataset.sources.table import open_source; found = open_source(sys.argv[1]); "
        "print(sum(bool(getattr(found.load(i), 'reason', '')) for i in range(len(found))))"
    )
    words = [sys.executable, "-c", code, bucket.uri("photos/pets")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_clients_print_nothing_of_a_dead_store(silent):
    code = (
        "import sys; from singaudit.dataset.sources import object_store; object_store._PATIENCE = 1.0\n"
        "try: object_store.open_objects(sys.argv[1])\n"
        "except object_store.MachineError as error: print(error.message)"
    )
    done = subprocess.run([sys.executable, "-c", code, silent], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "no answer" in done.stdout


def test_a_column_of_labels_is_for_tables():
    with pytest.raises(DatasetError, match="a folder of an object store"):
        open_source("s3://photos/pets", "label")


def test_an_audit_of_a_bucket_is_that_of_the_folder(bucket, tmp_path):
    shapes = open_source("shapes:60:3")
    for i in range(60):
        file = io.BytesIO()
        PIL.Image.fromarray(shapes.load(i).pixels).save(file, "PNG")
        (tmp_path / "im").mkdir(exist_ok=True)
        (tmp_path / "im" / f"{i:02}.png").write_bytes(file.getvalue())
        bucket.objects[f"photos/im/{i:02}.png"] = file.getvalue()
    results = []
    for images in ("im", bucket.uri("photos/im")):
        words = ["run", "builtin:leaky", "--images", images, "--vlm", "builtin:shapes", "--report", "json"]
        done = typed(*words, "-o", "out", "--force", "--generate", "0", cwd=tmp_path)
        assert done.exit_code == 4, done.stderr
        result = json.loads((tmp_path / "out" / "result.json").read_text())
        results.append({part: result[part] for part in ("scores", "findings", "controls", "concepts")})
    assert results[0] == results[1]


def test_no_client_is_imported_before_a_store_is_named():
    code = "import sys, singaudit.dataset.sources.object_store; sys.exit('fsspec' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
