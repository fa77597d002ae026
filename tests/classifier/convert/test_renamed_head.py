"""Heads under another name than the library's: the one linear layer left over, or a message that names what is."""

import pickle

import numpy as np
import pytest

from singaudit.torchvision_import import import_torchvision

import_torchvision()
torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision.models")

from singaudit.classifier.convert.architectures import Architecture  # noqa: E402
from singaudit.classifier.convert.fitting import MisfitError, fit  # noqa: E402
from singaudit.classifier.convert.from_program import program_network  # noqa: E402
from singaudit.classifier.convert.state_dict import NeedsCodeError, read_weights  # noqa: E402
from singaudit.errors import ModelError  # noqa: E402

NETWORK = Architecture("torchvision", "resnet18")


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return models.resnet18(num_classes=5).eval()


def renamed(trained, prefix, head):
    state = trained.state_dict()
    return {(head + n[3:] if n.startswith("fc.") else prefix + n): value for n, value in state.items()}


@pytest.mark.parametrize(
    ("prefix", "head"),
    [
        ("", "fc.1."),
        ("backbone.", "head.fc."),
        ("module.backbone.", "module.head."),
        ("model.", "model.fc.0."),
        ("net.", "net.classifier."),
    ],
)
def test_the_one_linear_layer_left_over_is_the_head(trained, prefix, head):
    fitted = fit(renamed(trained, prefix, head), NETWORK)
    assert fitted.head == head.rstrip(".")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(fitted.module(images), trained(images))
    np.testing.assert_array_equal(fitted.module.fc.weight.detach().numpy(), trained.fc.weight.detach().numpy())


def test_weight_norm_is_computed_whatever_it_is_called(trained):
    for wrap in (torch.nn.utils.parametrizations.weight_norm, torch.nn.utils.weight_norm):
        module = models.resnet18(num_classes=5).eval()
        module.load_state_dict(trained.state_dict())
        wrap(module.fc)
        with torch.no_grad():
            (
                getattr(module.fc, "weight_g", None)
                if hasattr(module.fc, "weight_g")
                else module.fc.parametrizations.weight.original0
            ).mul_(1.5)
        fitted = fit(module.state_dict(), NETWORK)
        torch.testing.assert_close(fitted.module.fc.weight, 1.5 * trained.fc.weight)


@pytest.mark.parametrize("wrap", [torch.nn.utils.spectral_norm, torch.nn.utils.parametrizations.spectral_norm])
def test_spectral_norm_is_computed_as_in_evaluation(trained, wrap):
    module = models.resnet18(num_classes=5)
    module.load_state_dict(trained.state_dict())
    wrap(module.fc)
    wrap(module.conv1)
    module.train()(torch.randn(2, 3, 64, 64))  # moves the singular vectors
    module.eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(fit(module.state_dict(), NETWORK).module(images), module(images))


def test_what_was_pruned_is_zero(trained):
    from torch.nn.utils import prune

    module = models.resnet18(num_classes=5).eval()
    module.load_state_dict(trained.state_dict())
    for part in ("weight", "bias"):
        prune.l1_unstructured(module.fc, part, amount=0.5)
    fitted = fit(module.state_dict(), NETWORK)
    assert torch.equal(fitted.module.fc.weight, module.fc.weight)
    assert torch.equal(fitted.module.fc.bias, module.fc.bias)
    assert (fitted.module.fc.weight == 0).float().mean() == 0.5


def test_of_several_layers_left_over_none_is_taken_and_all_are_named(trained):
    state = renamed(trained, "", "fc.3.") | {"fc.0.weight": torch.randn(512, 512), "fc.0.bias": torch.randn(512)}
    with pytest.raises(MisfitError) as info:
        fit(state, NETWORK)
    assert "fc.3.weight (5, 512)" in info.value.hint
    assert "fc.0.weight (512, 512)" in info.value.hint
    assert "missing:" not in info.value.hint


def test_the_network_that_the_shapes_fit_is_suggested_for_a_wrong_one(trained):
    with pytest.raises(MisfitError) as info:
        fit(trained.state_dict(), Architecture("torchvision", "mobilenet_v2"))
    assert "Their shapes are those of" in info.value.hint
    assert "torchvision:resnet18" in info.value.hint


def test_a_file_without_a_head_is_told_so(trained):
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("fc.")}
    with pytest.raises(MisfitError) as info:
        fit(state, NETWORK)
    assert info.value.hint.startswith("The head is missing")


class History:
    """An object of a training library, which is never imported to read the weights beside it."""

    def __init__(self):
        raise AssertionError("was built")

    def __setstate__(self, state):
        raise AssertionError("was filled")


def saved(path, document, **options):
    torch.save(document, path, **options)
    return path


def history():
    found = object.__new__(History)
    found.log = {"loss": np.float64(0.5)}
    return found


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_beside_foreign_objects_are_read_without_building_these(trained, key, zipped, tmp_path):
    document = {"meta": history(), key: trained.state_dict()}
    if zipped:  # the older format keeps a module's source text, which torch's restricted reader takes for no storage
        document["loss"] = torch.nn.CrossEntropyLoss()
    path = saved(tmp_path / "w.pth", document, _use_new_zipfile_serialization=zipped)
    found = read_weights([path])
    torch.testing.assert_close(found.tensors["fc.weight"], trained.fc.weight.detach())


class Settings(dict):
    """As MMEngine's ConfigDict and EasyDict: a dictionary of a library's own, filled item by item."""


class Names(list):
    """As training libraries' own lists."""


def test_foreign_dictionaries_and_lists_are_read_as_plain_ones(trained, tmp_path):
    settings = Settings(lr=0.1, names=Names(["a", "b"]), inner=Settings({1: Settings()}))
    state = Settings(trained.state_dict())
    state.own = 3
    document = {"meta": settings, "state_dict": state, "log": Names([Names(), history()])}
    found = read_weights([saved(tmp_path / "w.pth", document)])
    assert found.wrapper == "state_dict"
    torch.testing.assert_close(found.tensors["fc.weight"], trained.fc.weight.detach())


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_of_another_library_is_told_to_be_none_of_torchs(tmp_path, protocol):
    (tmp_path / "svm.pkl").write_bytes(pickle.dumps({"coef_": [1.0, 2.0]}, protocol=protocol))
    with pytest.raises(ModelError, match=r"torch\.save did not write"):
        read_weights([tmp_path / "svm.pkl"])


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ("ultralytics.nn.tasks.ClassificationModel", "yolo export"),
        ("fastai.learner.Learner", "load_learner"),
        ("mylib.Model", "singaudit.export("),
    ],
)
def test_the_way_out_of_a_program_is_its_own_librarys(wanted, line):
    hint = NeedsCodeError("model.pt", ("collections.OrderedDict", wanted)).hint
    assert line in hint
    assert "--allow-code" in hint


def test_a_module_spread_over_devices_is_the_module(tmp_path):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    ).eval()
    torch.save(torch.nn.DataParallel(net), tmp_path / "spread.pt")
    network = program_network(str(tmp_path / "spread.pt"), "pickled module", {"size": (32, 32)})
    assert type(network.module) is torch.nn.Sequential
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network.module(images), net(images))


def test_a_file_of_nothing_but_foreign_objects_is_a_program(tmp_path):
    with pytest.raises(NeedsCodeError, match="History"):
        read_weights([saved(tmp_path / "w.pth", {"meta": history()})])


def test_the_module_in_a_dictionary_is_run_where_that_is_allowed(tmp_path):
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    ).eval()
    path = saved(tmp_path / "w.pt", {"ckpt": module, "epoch": 1})
    network = program_network(str(path), "pickled module", {"size": (32, 32)})
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(network.module(images), module(images))
