"""Image classifiers of transformers and timm, from folders and from a hub that runs on this machine."""

import io
import json
import os
import subprocess
import sys
import warnings

import pytest
import torch
from hub_server import COMMIT, serve
from safetensors.torch import load_file, save_file
from tiny_networks import ARCH, images, network, write_json

from singaudit.classifier.convert.from_transformers import transformers_network
from singaudit.classifier.convert.state_dict import NeedsCodeError
from singaudit.classifier.openers.hub import open_folder
from singaudit.classifier.options import ModelOptions
from singaudit.errors import ConfigError, ModelError


def save_vit(folder, shards=False, **config):
    import transformers

    torch.manual_seed(0)
    options = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "image_size": 32,
        "patch_size": 8,
        "id2label": {0: "ant", 1: "bee", 2: "cat"},
        **config,
    }
    module = transformers.ViTForImageClassification(transformers.ViTConfig(**options)).eval()
    module.save_pretrained(folder, **({"max_shard_size": "10KB"} if shards else {}))
    processor = {"do_resize": True, "size": {"height": 32, "width": 32}, "resample": 3, "do_rescale": True,
                 "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.1, 0.2, 0.3],
                 "image_std": [0.5, 0.4, 0.3]}  # fmt: skip
    write_json(folder / "preprocessor_config.json", processor)
    return module


def changed(folder, **values):
    document = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**document, **values})


def loaded(folder):
    config = json.loads((folder / "config.json").read_text())
    files = sorted(str(path) for path in folder.glob("*.safetensors"))
    return transformers_network(files, config, {}, {})


def test_a_folder_of_shards_is_opened_with_its_labels_and_its_preprocessing(tmp_path):
    module = save_vit(tmp_path, shards=True, problem_type="multi_label_classification")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    classifier = open_folder(tmp_path, ModelOptions())
    x = images((3, 32, 32), 4)
    with torch.inference_mode():
        want = module(torch.from_numpy(x)).logits.numpy()
    assert abs(classifier.forward(x)[1] - want).max() < 1e-5 * abs(want).max()
    assert classifier.class_names == ("ant", "bee", "cat")
    assert (classifier.head.activation, classifier.head.activation_stated) == ("sigmoid", True)
    how = classifier.preprocessing
    assert (how.mean, how.std, how.interpolation, how.mode) == ((0.1, 0.2, 0.3), (0.5, 0.4, 0.3), "bicubic", "squash")
    assert (how.guessed, how.source) == ((), "preprocessor_config.json")
    assert classifier.description["architecture"] == "transformers:ViTForImageClassification"


def test_labels_that_nobody_named_are_no_names(tmp_path):
    save_vit(tmp_path, id2label={0: "LABEL_0", 1: "LABEL_1"})
    assert loaded(tmp_path).statements.class_names is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "nonesuch"}, "does not describe a model that transformers knows"),
        ({"model_type": "bert"}, "expected an image classifier"),
        ({"model_type": "nonesuch", "auto_map": {"AutoConfig": "evil.Config"}}, "does not describe a model"),
        ({"hidden_size": 64}, "have another shape for"),
        ({"num_labels": 10**9, "id2label": None}, "claims 1,000,000,000 classes"),
        ({"num_hidden_layers": 2}, "lack .* of the tensors"),
        ({"num_hidden_layers": 0}, "hold .* tensors that ViTForImageClassification has no place for"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "stored quantised"),
        ({"hidden_size": "many"}, "does not describe|do not fit"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path, values, message):
    save_vit(tmp_path)
    changed(tmp_path, **values)
    with pytest.raises(ModelError, match=message):
        loaded(tmp_path)


def test_a_missing_head_is_never_filled_with_random_weights(tmp_path):
    save_vit(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({n: t for n, t in load_file(path).items() if not n.startswith("classifier")}, path)
    with pytest.raises(ModelError, match=r"lack 2 of the tensors of ViTForImageClassification: classifier.bias"):
        loaded(tmp_path)


def test_kernels_that_a_configuration_names_are_not_fetched(tmp_path):
    save_vit(tmp_path)
    changed(tmp_path, _attn_implementation="kernels-community/evil", attn_implementation="kernels-community/evil")
    assert loaded(tmp_path).module.config._attn_implementation == "eager"


def test_pickled_weights_of_a_folder_are_read_by_the_restricted_reader_alone(tmp_path):
    module = save_vit(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(module.state_dict(), tmp_path / "pytorch_model.bin")
    config = json.loads((tmp_path / "config.json").read_text())
    found = transformers_network([str(tmp_path / "pytorch_model.bin")], config, {}, {})
    assert found.description["format"] == "PyTorch checkpoint"
    torch.save({**module.state_dict(), "more": os.getcwd}, tmp_path / "pytorch_model.bin")
    with pytest.raises(NeedsCodeError):
        transformers_network([str(tmp_path / "pytorch_model.bin")], config, {}, {})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found nothing"),
        (["a.txt"], "found a.txt"),
        (["config.json"], "found config.json"),
        (["a.onnx", "b.onnx"], "found a.onnx, b.onnx"),
    ],
)
def test_folders_that_hold_no_model_say_what_they_hold(tmp_path, names, message):
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=message):
        open_folder(tmp_path, ModelOptions())


def test_a_folder_whose_configuration_names_nothing_asks_for_the_architecture(tmp_path):
    save_file(network().state_dict(), tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {"name": "mine"})
    with pytest.raises(ModelError, match="neither a model_type of transformers nor an architecture of timm"):
        open_folder(tmp_path, ModelOptions())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_no_file_of_a_folder_may_be_a_fifo_a_folder_or_a_link_out(tmp_path, name, kind):
    folder = tmp_path / "model"
    save_vit(folder)
    os.rename(folder / name, tmp_path / "outside")
    if kind == "fifo":
        os.mkfifo(folder / name)
    elif kind == "link":
        (folder / name).symlink_to(tmp_path / "outside")
    else:
        (folder / name).mkdir()
    with pytest.raises(ModelError, match=r"not a regular file|link out"):
        open_folder(folder, ModelOptions())


def test_a_folders_one_onnx_file_is_opened(tmp_path, models):
    (tmp_path / "model.onnx").write_bytes((models / "clean.onnx").read_bytes())
    assert open_folder(tmp_path, ModelOptions()).name == "model.onnx"


def save_graph(folder):
    """As exporters for the web and for ONNX Runtime leave a classifier: onnx/model.onnx with its data beside it."""
    import onnx

    module = save_vit(folder, problem_type="multi_label_classification")
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(1, 3, 32, 32),),
            buffer,
            dynamo=False,
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamic_axes={"pixel_values": {0: "n"}, "logits": {0: "n"}},
        )
    graph = onnx.load_from_string(buffer.getvalue())
    path = str(folder / "onnx" / "model.onnx")
    onnx.save(graph, path, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    return module


def check_graph(classifier, module):
    x = images((3, 32, 32), 4)
    with torch.inference_mode():
        want = module(torch.from_numpy(x)).logits.numpy()
    assert abs(classifier.forward(x)[1] - want).max() < 1e-5 * abs(want).max()
    assert classifier.class_names == ("ant", "bee", "cat")
    assert classifier.class_names_source == "id2label in config.json in the folder above the model"
    assert (classifier.head.activation, classifier.head.activation_stated) == ("sigmoid", True)
    how = classifier.preprocessing
    assert (how.mean, how.std, how.interpolation, how.mode) == ((0.1, 0.2, 0.3), (0.5, 0.4, 0.3), "bicubic", "squash")
    assert (how.guessed, how.source) == ((), "preprocessor_config.json in the folder above the model")


def test_a_folder_whose_graph_lies_in_onnx_is_opened_with_what_stands_above_it(tmp_path):
    module = save_graph(tmp_path / "model")
    check_graph(open_folder(tmp_path / "model", ModelOptions()), module)
    with pytest.raises(ConfigError, match="--arch"):
        open_folder(tmp_path / "model", ModelOptions(arch="resnet18"))
    (tmp_path / "model" / "onnx" / "model_fp16.onnx").write_bytes(b"not asked for")
    check_graph(open_folder(tmp_path / "model", ModelOptions()), module)
    (tmp_path / "model" / "onnx" / "model.onnx").rename(tmp_path / "model" / "onnx" / "model_q4.onnx")
    with pytest.raises(ModelError, match=r"one ONNX graph, found onnx/model_fp16.onnx, onnx/model_q4.onnx"):
        open_folder(tmp_path / "model", ModelOptions())
    (tmp_path / "model" / "onnx").rename(tmp_path / "elsewhere")
    (tmp_path / "model" / "onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"expected one of .* or an ONNX graph, found config.json, onnx"):
        open_folder(tmp_path / "model", ModelOptions())


def inspect(name, env, *options):
    done = subprocess.run(
        [sys.executable, "-m", "singaudit", "inspect", name, "--format", "json", *options],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stderr)
    return 0, json.loads(done.stdout)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A transformers and a timm classifier, and a repository that holds neither."""
    root = tmp_path_factory.mktemp("repositories")
    save_vit(root / "vit", shards=True)
    (root / "timm").mkdir()
    save_file(network(3).state_dict(), root / "timm" / "model.safetensors")
    pretrained = {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "input_size": [3, 64, 64],
        "crop_pct": 1.0,
        "interpolation": "bilinear",
    }
    write_json(root / "timm" / "config.json", {"architecture": ARCH, "num_classes": 3, "pretrained_cfg": pretrained})
    save_graph(root / "graph")
    (root / "text").mkdir()
    write_json(root / "text" / "config.json", {"model_type": "bert"})
    with serve() as hub:
        for name in ("vit", "timm", "graph", "text"):
            hub.add(f"org/{name}", root / name)
        yield hub


def test_a_repository_is_fetched_once_pinned_to_its_commit_and_found_again_offline(tmp_path, hub):
    code, facts = inspect("hf:org/vit", hub.environment(tmp_path))
    assert code == 0, facts
    assert facts["name"] == "hf:org/vit"
    assert facts["description"]["revision"] == f"org/vit@{COMMIT}"
    assert facts["class_names"] == ["ant", "bee", "cat"]
    assert facts["preprocessing"]["source"] == "preprocessor_config.json"
    # What was fetched is enough without a hub, asked for by name or by commit.
    nowhere = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    code, again = inspect(f"hf:org/vit@{COMMIT}", hub.environment(tmp_path, **nowhere))
    assert (code, again["sha256"], again["description"]["revision"]) == (0, facts["sha256"], f"org/vit@{COMMIT}")


def test_a_repository_of_onnx_alone_is_fetched_with_its_data_and_opened_from_the_cache(tmp_path, hub):
    code, facts = inspect("hf:org/graph", hub.environment(tmp_path))
    assert code == 0, facts
    assert (facts["name"], facts["description"]["revision"]) == ("hf:org/graph", f"org/graph@{COMMIT}")
    assert facts["class_names"] == ["ant", "bee", "cat"]
    assert facts["preprocessing"]["source"] == "preprocessor_config.json in the folder above the model"
    folder = tmp_path / "hub" / "models--org--graph" / "snapshots" / COMMIT
    assert (folder / "onnx" / "model.onnx_data").is_symlink()
    nowhere = hub.environment(tmp_path, HF_HUB_OFFLINE="1")
    for name in ("hf:org/graph", str(folder), str(folder / "onnx" / "model.onnx")):
        code, again = inspect(name, nowhere)
        assert (code, again["sha256"]) == (0, facts["sha256"])
    # Where nobody knows whether the hub has weights, a graph is not taken in their place.
    (folder.parents[1] / ".no_exist" / COMMIT / "model.safetensors").unlink()
    code, error = inspect("hf:org/graph", nowhere)
    assert code == 2
    assert "only in part" in error["message"]
    assert "model.safetensors is missing" in error["message"]


def test_timms_layout_is_understood_too(tmp_path, hub):
    code, facts = inspect("hf:org/timm", hub.environment(tmp_path))
    assert code == 0, facts
    assert facts["description"]["architecture"] == f"timm:{ARCH} (config.json beside the model)"
    assert (facts["preprocessing"]["guessed"], facts["head"]["classes"]) == ([], 3)


def test_a_repository_without_weights_says_which_are_read(tmp_path, hub):
    code, error = inspect("hf:org/text", hub.environment(tmp_path))
    assert (code, error["code"]) == (2, "model")
    assert "expected one of model.safetensors" in error["message"]
    assert error["hint"]
