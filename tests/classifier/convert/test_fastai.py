"""Networks that fastai saved: a body of a library's network under 0., a head of fastai's own under 1."""

from collections import OrderedDict

import pytest

from singaudit.torchvision_import import import_torchvision

import_torchvision()
torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
models = pytest.importorskip("torchvision.models")
from torch import nn  # noqa: E402

from singaudit.classifier.convert.architectures import Architecture  # noqa: E402
from singaudit.classifier.convert.fitting import MisfitError, find, fit  # noqa: E402
from singaudit.classifier.convert.state_dict import read_weights  # noqa: E402
from singaudit.errors import ModelError  # noqa: E402

NET = Architecture("torchvision", "shufflenet_v2_x0_5")


class AdaptiveConcatPool2d(nn.Module):
    """fastai.layers.AdaptiveConcatPool2d, as published."""

    def __init__(self):
        super().__init__()
        self.ap, self.mp = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)

    def forward(self, x):
        return torch.cat([self.mp(x), self.ap(x)], 1)


def block(ni, no, act, bn=True):
    """fastai.layers.LinBnDrop with dropout."""
    return [
        *([nn.BatchNorm1d(ni)] if bn else []), nn.Dropout(0.5), nn.Linear(ni, no, bias=not bn),
        *([nn.ReLU()] if act else []),
    ]  # fmt: skip


def head(kind, nf, classes=5):
    """What create_head of fastai.vision.learner makes, by its arguments."""
    pool = [AdaptiveConcatPool2d(), nn.Flatten()]
    return nn.Sequential(*{
        "usual": [*pool, *block(2 * nf, 512, True), *block(512, classes, False)],
        "mean": [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *block(nf, 512, True), *block(512, classes, False)],
        "deep": [
            *pool, *block(2 * nf, 32, True), *block(32, 16, True), *block(16, classes, False), nn.BatchNorm1d(classes)
        ],
        "linear first": [
            *pool, nn.Dropout(0.25), nn.Linear(2 * nf, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Dropout(0.5),
            nn.Linear(64, classes),
        ],
        "one layer": [*pool, *block(2 * nf, classes, False, bn=False)],
        "no pool": [*block(nf, 32, True), *block(32, classes, False)],
    }[kind])  # fmt: skip


def shaken(module):
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return module.eval()


def body():
    children = list(models.get_model(NET.name, weights=None).children())
    return nn.Sequential(*children[:1])  # fastai cuts before the last child that pools: here the first max pooling


def cut(kind="usual"):
    inner = body()
    with torch.inference_mode():
        width = inner.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    return shaken(nn.Sequential(inner, head(kind, width)))


@pytest.mark.parametrize("kind", ["usual", "mean", "deep", "linear first", "one layer"])
def test_a_body_of_torchvision_and_fastais_head_compute_what_fastais_module_does(kind):
    module = cut(kind)
    fitted = fit(module.state_dict(), NET)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(fitted.module(images), module(images))
    place, _, words = fitted.head.partition(", ")
    assert torch.equal(fitted.module.get_submodule(place).weight, module.get_submodule(place).weight)
    assert "fastai" in words


class TimmBody(nn.Module):
    """fastai.vision.learner.TimmBody, as published."""

    def __init__(self, model):
        super().__init__()
        self.needs_pool = model.default_cfg.get("pool_size", None) is not None
        self.model = model

    def forward(self, x):
        return self.model.forward_features(x) if self.needs_pool else self.model(x)


@pytest.mark.parametrize(("name", "kind"), [("test_resnet", "usual"), ("test_vit", "no pool")])
def test_a_network_of_timm_is_found_by_its_body(name, kind):
    inner = timm.create_model(name, num_classes=0)
    module = shaken(nn.Sequential(TimmBody(inner), head(kind, inner.num_features)))
    size = inner.default_cfg["input_size"]
    for fitted in (find(module.state_dict()), fit(module.state_dict(), Architecture("timm", name))):
        assert str(fitted.architecture) == f"timm:{name}"
        images = torch.randn(2, *size)
        with torch.inference_mode():
            torch.testing.assert_close(fitted.module(images), module(images))


def test_the_optimisers_state_beside_the_weights_is_not_built(tmp_path):
    class L(list):  # fastcore's list, which fastai keeps hyperparameters in
        pass

    L.__module__, L.__qualname__ = "fastcore.foundation", "L"
    module = cut()
    import sys
    import types

    sys.modules["fastcore"], sys.modules["fastcore.foundation"] = types.ModuleType("fastcore"), types.ModuleType("f")
    sys.modules["fastcore.foundation"].L = L
    try:
        document = {"model": module.state_dict(), "opt": {"state": [], "hypers": L([{"lr": 1e-3}])}}
        torch.save(document, tmp_path / "stage-1.pth", pickle_protocol=2)
    finally:
        del sys.modules["fastcore"], sys.modules["fastcore.foundation"]
    weights = read_weights([tmp_path / "stage-1.pth"])
    assert weights.wrapper == "model"
    assert fit(weights.tensors, NET).architecture == NET


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {**s, "1.9.weight": torch.ones(3, 5)},  # two linear layers with nothing known between
        lambda s: {n: t for n, t in s.items() if not n.startswith("1.8")},
        lambda s: {**s, "1.2.weight": torch.ones(7)},
        lambda s: {**s, "0.9.weight": torch.ones(7)},
        lambda s: {n.replace("1.8", "1.act"): t for n, t in s.items()},
    ],
)
def test_a_head_that_fastai_does_not_write_is_named_and_exported_by_fastai(change):
    state = OrderedDict(change(cut().state_dict()))
    with pytest.raises(MisfitError) as info:
        fit(state, NET)
    assert "1.4.weight (512, " in info.value.message
    assert "singaudit.export(learn.model" in info.value.hint


def test_a_body_that_no_usual_network_has_asks_for_its_architecture():
    with pytest.raises(ModelError) as info:
        find(cut().state_dict())
    assert "--arch names the network that the body was cut from" in info.value.hint
