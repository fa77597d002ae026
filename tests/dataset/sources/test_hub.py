"""Data sets of the hub, over a loopback server: class names, own values, and no decoding but ours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import serve
from image_files import png

from singaudit.dataset.sources import hub as hub_dataset
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError

datasets = pytest.importorskip("datasets")

READ = """
import json, sys
from singaudit.dataset.interface import Image
from singaudit.dataset.sources.table import open_source
from singaudit.errors import DatasetError
found = []
for spec in sys.argv[1:]:
    try:
        source = open_source(spec)
        loaded = [source.load(i) for i in range(len(source))]
        values = [int(x.pixels[0, 0, 0]) if isinstance(x, Image) else x.reason for x in loaded]
        found.append({"labels": source.labels, "columns": source.columns, "values": values})
    except DatasetError as error:
        found.append({"message": error.message, "hint": error.hint})
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """org/pets with two splits as the library writes them; org/plain with bytes that nothing describes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("files")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "colour": datasets.Value("string"),
        }
    )
    for split, count in (("train", 2), ("test", 4)):
        rows = {
            "image": [{"bytes": png(i), "path": None} for i in range(count)],
            "label": [i % 2 for i in range(count)],
            "colour": ["red" if i else None for i in range(count)],
        }
        (folder / "pets").mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            folder / "pets" / f"{split}-00000-of-00001.parquet"
        )
    (folder / "plain").mkdir()
    pq.write_table(
        pa.table({"image": [png(7), b"nonsense"], "label": ["dog", "cat"]}), folder / "plain" / "test.parquet"
    )
    (folder / "evil").mkdir()
    pq.write_table(
        pa.table({"image": [{"bytes": None, "path": "/etc/hostname"}, {"bytes": png(1), "path": "x"}]}),
        folder / "evil" / "test.parquet",
    )
    (folder / "script").mkdir()
    (folder / "script" / "script.py").write_text("open('executed', 'w')")
    with serve() as hub:
        for name in ("pets", "plain", "evil", "script"):
            hub.add(f"org/{name}", folder / name, kind="datasets")
        yield hub


@pytest.fixture(scope="module")
def read(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")

    def run(*specs, **variables):
        environment = hub.environment(home, **variables)
        found = subprocess.run(
            [sys.executable, "-c", READ, *specs], env=environment, capture_output=True, text=True, timeout=200
        )
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)

    return run


def test_data_sets_of_the_hub(read):
    pets, plain, evil, script, unnamed, nowhere = read(
        "hf:org/pets:test", "hf:org/plain", "hf:org/evil", "hf:org/script:test", "hf:org/pets", "hf:org/none:test"
    )
    assert pets["labels"] == ["cat", "dog", "cat", "dog"]
    assert pets["values"] == [0, 1, 2, 3]
    assert pets["columns"] == {"colour": ["", "red", "red", "red"]}
    assert plain["labels"] == ["dog", "cat"]
    assert plain["values"][0] == 7
    assert "no image" in plain["values"][1]
    # No path that a row names is followed, and no code of a repository runs.
    assert evil.get("values", evil) == ["has no bytes, and a path that was not downloaded", 1]
    assert "script" in script["message"]
    assert not Path("executed").exists()
    assert "train, test" in unnamed["message"]
    assert "hf:org/pets:test" in unnamed["hint"]
    assert "HF_TOKEN" in nowhere["hint"]
    (again,) = read("hf:org/pets:test", HF_HUB_OFFLINE="1")
    assert again["values"] == pets["values"]


@pytest.mark.parametrize("spec", ["hf:", "hf:../x", "hf:a/b/c", "hf:org/x:", "hf:org/x:a b", "hf:http://x/y"])
def test_what_is_no_name_is_explained(spec):
    with pytest.raises(DatasetError, match="hf:ORG/NAME") as info:
        open_source(spec)
    assert info.value.hint


def test_without_the_library_the_install_line_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match="not installed") as info:
        hub_dataset.open_hub_dataset("hf:org/pets:test")
    assert "pip install 'singaudit[datasets]'" in info.value.hint
