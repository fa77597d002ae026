"""examples/paper_protocol.py on stand-ins: the same code path as with the paper's 13 models, hub and data."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from singaudit.dataset.sources.table import open_source
from singaudit.language.encoders.open_clip import repository_of
from singaudit.torchvision_import import import_torchvision

pytestmark = pytest.mark.usefixtures("kept")

PATH = Path(__file__).parents[2] / "examples" / "paper_protocol.py"


@pytest.fixture(scope="module")
def protocol():
    spec = importlib.util.spec_from_file_location("paper_protocol", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["paper_protocol"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["paper_protocol"]


def test_the_papers_models_and_numbers_are_there(protocol):
    assert len(protocol.MODELS) == 13
    table1 = {m.name: m.table1[0] for m in protocol.MODELS if m.table1}
    assert table1 == {
        "ResNet50": 12.04,
        "EfficientNet": 12.38,
        "BiT-ResNet": 9.19,
        "DinoViT": 5.00,
        "ResNeXt101": 11.15,
    }
    assert protocol.IMAGES == 10_000


def test_the_encoders_are_clip_and_eva02_clip_of_the_same_resolution(protocol):
    import_torchvision()
    pytest.importorskip("open_clip")
    clip, eva = protocol.ENCODERS
    assert clip == "openai/clip-vit-large-patch14"
    assert repository_of(eva) == "timm/eva02_large_patch14_clip_224.merged2b_s4b_b131k"


def test_the_models_exist_under_their_names_with_the_null_dimensions_stated(protocol):
    import torch

    torchvision, timm = import_torchvision(), pytest.importorskip("timm")
    if torchvision is None:
        pytest.skip("torchvision is not installed")
    from timm.models import get_pretrained_cfg

    stated, found = {}, {}
    for model in protocol.MODELS:
        kind, _, name = model.model.partition(":")
        with torch.device("meta"):  # shapes alone, no weights
            if kind == "timm":
                assert get_pretrained_cfg(name).has_weights, name
                head = timm.create_model(name).get_classifier().weight
            elif kind == "torchvision":
                name, _, weights = name.partition("@")
                assert weights in torchvision.models.get_model_weights(name).__members__
                network = torchvision.models.get_model(name, weights=None)
                head = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1].weight
            else:
                continue
        stated[model.name] = model.null_dim
        found[model.name] = head.shape[1] - head.shape[0]
    assert found == stated
    assert len(found) == 12  # all but the hub's


def test_the_protocol_runs_on_stand_ins_and_goes_on_where_it_stopped(protocol, tmp_path, monkeypatch, capsys):
    stand_ins = [
        {"name": "ResNet50", "model": "builtin:leaky", "null_dim": 1048, "table1": [12.04, 0.25]},
        {"name": "DinoViT", "model": "builtin:clean", "null_dim": 24, "table1": [5.0, 0.59]},
        {"name": "Gone", "model": "builtin:nothing"},
    ]
    (tmp_path / "models.json").write_text(json.dumps(stand_ins))
    out = tmp_path / "out"
    arguments = ["paper_protocol.py", "--images", "shapes:600:3", "--vlm", "builtin:shapes", "--labels", "auto",
                 "--models", str(tmp_path / "models.json"), "-o", str(out)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    assert protocol.main() == 1  # one model could not be opened
    text = (out / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert "12.04 +- 0.25" in text
    assert "not audited" in text
    rows = {r["name"]: r for r in json.loads((out / "table.json").read_text())}
    assert rows["ResNet50"]["null_dim"] == 56
    assert rows["ResNet50"]["cosine"]["value"] > 0.5
    assert 0 < rows["DinoViT"]["steered_deg"]["value"] < 40.001
    assert 0 < rows["DinoViT"]["reached"]["value"] <= 1
    folder = out / "builtin-shapes"
    assert {"ResNet50", "DinoViT", "compare.html", "compare.json"} <= {p.name for p in folder.iterdir()}
    monkeypatch.setattr(protocol, "audit", lambda *a, **k: pytest.fail("audited again"))
    monkeypatch.setattr(sys, "argv", [*arguments, "--only", "ResNet50,DinoViT"])
    assert protocol.main() == 0
    monkeypatch.setattr(sys, "argv", [*arguments, "--only", "Nobody"])
    with pytest.raises(SystemExit, match="Nobody"):
        protocol.main()


def test_of_a_folder_sorted_by_class_images_are_drawn_over_all_classes(protocol, tmp_path):
    for label in "abcd":
        (tmp_path / "val" / label).mkdir(parents=True)
        for i in range(25):
            (tmp_path / "val" / label / f"{i}.png").write_bytes(b"not decoded here")
    listed = protocol.drawn(str(tmp_path / "val"), 40, 0, "auto", tmp_path)
    source = open_source(listed)
    assert len(source) == 40
    assert set(source.labels) == set("abcd")
    again = Path(listed).read_text()
    assert Path(protocol.drawn(str(tmp_path / "val"), 40, 0, "auto", tmp_path)).read_text() == again
    assert all(
        Path(line).is_file()
        for line in Path(protocol.drawn(str(tmp_path / "val"), 40, 0, "none", tmp_path)).read_text().splitlines()
    )
    assert protocol.drawn(str(tmp_path / "val"), 100, 0, "auto", tmp_path) == str(tmp_path / "val")
    assert protocol.drawn("shapes:50", 40, 0, "auto", tmp_path) == "shapes:50"
