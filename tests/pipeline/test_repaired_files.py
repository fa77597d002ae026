"""A new model file with what stands beside it takes no other file's place."""

import pytest

from singaudit.errors import ConfigError
from singaudit.pipeline.repaired_files import check_output, publish, staged
from singaudit.repair.process import NewModel


def staged_into(folder, pages):
    (folder / "weights").write_bytes(b"data")
    model = NewModel(b"graph", {"new.onnx.data": folder / "weights"}, {})
    with staged(model, folder / "new.onnx") as path:
        publish(path, folder / "new.onnx", pages)


def test_a_model_appears_with_its_external_data_and_pages(tmp_path):
    staged_into(tmp_path, {"new.html": b"page"})
    assert (tmp_path / "new.onnx").read_bytes() == b"graph"
    assert (tmp_path / "new.onnx.data").read_bytes() == b"data"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.html", "new.onnx", "new.onnx.data", "weights"]


@pytest.mark.parametrize("taken", ["new.onnx", "new.onnx.data", "new.html"])
def test_what_is_there_stays_and_nothing_else_appears(tmp_path, taken):
    (tmp_path / taken).write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists already"):
        staged_into(tmp_path, {"new.html": b"page"})
    assert (tmp_path / taken).read_bytes() == b"mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([taken, "weights"])


def test_an_output_that_exists_is_refused_before_any_work(tmp_path):
    (tmp_path / "new.json").write_bytes(b"{}")
    with pytest.raises(ConfigError, match=r"new\.json exists already"):
        check_output(tmp_path / "new.onnx")
