"""Networks of fastai's vision_learner: the body of a torchvision or timm network, and a head of fastai's own.

Its learn.save writes both as a sequence, the body's tensors under ``0.`` and the head's under ``1.``, each layer by its
place. The places tell what stands between the layers with weights, because fastai's ``create_head`` puts nothing else
there (fastai.vision.learner, version 2): pooling and flattening first, ReLU after a linear layer, dropout before one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from singaudit.classifier.convert.architectures import Architecture, adapted
from singaudit.classifier.convert.signature import Shapes, same_body

BODY, HEAD, TIMM_BODY = "0.", "1.", "0.model."
_CUTS = {"resnet": -2, "squeezenet": -1, "densenet": -1, "vgg": -2, "alexnet": -2}
"""Where fastai cuts a network of torchvision by the beginning of its name: which of its children, from the end, are not
the body; elsewhere at the last child that pools."""
_USUAL = {
    "0.4.0.conv1.weight": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "0.0.3.squeeze.weight": ("squeezenet1_0", "squeezenet1_1"),
    "0.0.denseblock1.denselayer1.norm1.weight": ("densenet121", "densenet161", "densenet169", "densenet201"),
    "0.0.1.running_mean": ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    "0.0.10.weight": ("alexnet",),
}
"""Networks of torchvision that fastai knows by name, and a tensor that the body of each family has."""
_SIDE = 128
"""Pixels of the images that tell how many features a body gives."""


def is_fastais(tensors: Mapping[str, Any]) -> bool:
    """Whether the tensors stand in a body "0" and a head "1", as fastai's vision_learner arranges them."""
    parts = {name.partition(".")[0] for name in tensors}
    return parts == {"0", "1"} and any(name.startswith(BODY) and name.count(".") > 1 for name in tensors)


def body_candidates(shapes: Shapes) -> list[str]:
    """Names such as "torchvision:resnet18" whose body has the shapes of a file's body."""
    if any(name.startswith(TIMM_BODY) for name in shapes):
        return [n for n in same_body(_under(shapes, TIMM_BODY)) if n.startswith("timm:")]
    own = _under(shapes, BODY)
    usual = [Architecture("torchvision", n) for mark, names in _USUAL.items() if mark in shapes for n in names]
    return [str(one) for one in usual if _channels(one, own, _body(one.build(empty=True), one)) is not None]


def build(tensors: Mapping[str, Any], architecture: Architecture) -> tuple[Any, Architecture, str] | None:
    """(network with these weights, its architecture, the place of its last linear layer); None where they do not fit.

    The body is ``architecture`` without its own head. Every tensor of the file is used, and every one of the network
    is in the file.
    """
    import torch

    if architecture.library == "timm":
        architecture = replace(architecture, classes=0)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    empty = _body(architecture.build(empty=True), architecture)
    chosen = _channels(architecture, _under(shapes, BODY), empty)
    if chosen is None:
        return None
    body = _body(chosen.build(), chosen).eval()
    with torch.inference_mode():
        try:
            maps = body(torch.zeros(2, chosen.channels, *(chosen.size or (_SIDE, _SIDE))))
        except (RuntimeError, AssertionError):  # a network of one size
            side = getattr(getattr(getattr(body, "model", None), "patch_embed", None), "img_size", (224, 224))
            maps = body(torch.zeros(2, chosen.channels, *side))
    head = _head(_under(tensors, HEAD), tuple(maps.shape))
    if head is None:
        return None
    module = torch.nn.Sequential(body, head).eval()
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError:
        return None
    place = max(at for at, layer in enumerate(head) if isinstance(layer, torch.nn.Linear))
    return module, replace(chosen, classes=None), f"{HEAD}{place}"


def _under(tensors: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _channels(architecture: Architecture, own: Shapes, empty: Any) -> Architecture | None:
    """The architecture with the file's number of channels; None where its body has other tensors than the file's."""
    expected = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    if expected.keys() != own.keys():
        return None
    chosen = adapted(architecture, expected, own, empty)
    wrong = [name for name, shape in expected.items() if own[name] != shape]
    return chosen if not wrong or chosen != architecture else None


def _body(module: Any, architecture: Architecture) -> Any:
    """What fastai keeps of a network (``create_body`` and ``TimmBody``)."""
    from torch import nn

    if architecture.library == "timm":
        pooled = (getattr(module, "pretrained_cfg", None) or {}).get("pool_size") is not None
        return _timm_body(module, pooled)
    children = list(module.children())
    cut = next((cut for start, cut in _CUTS.items() if architecture.name.startswith(start)), None)
    if cut is None:
        cut = next((at for at in reversed(range(len(children))) if _pools(children[at])), len(children))
    return nn.Sequential(*children[:cut])


def _pools(module: Any) -> bool:
    return any(type(part).__name__.endswith(("Pool1d", "Pool2d", "Pool3d")) for part in module.modules())


def _timm_body(network: Any, maps: bool) -> Any:
    """The module that stands around a network of timm: its maps where it would pool them, else its features."""
    from torch import nn

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network

        def forward(self, images: Any) -> Any:
            return self.model.forward_features(images) if maps else self.model(images)

    return Body()


def _head(own: Mapping[str, Any], maps: tuple[int, ...]) -> Any:
    """fastai's head with layers at the places of these tensors, for a body that gives ``maps``; None for another's."""
    from torch import nn

    layers: list[Any] = []
    numbers = {name.partition(".")[0] for name in own}
    if not all(number.isdecimal() and len(number) < 4 for number in numbers):
        return None
    places = sorted(map(int, numbers))
    for at in places:
        mean, weight = own.get(f"{at}.running_mean"), own.get(f"{at}.weight")
        if weight is None or weight.ndim != (2 if mean is None else 1):
            return None
        layer: Any = (
            nn.Linear(weight.shape[1], weight.shape[0], bias=f"{at}.bias" in own)
            if mean is None
            else nn.BatchNorm1d(len(mean))
        )
        takes, free = weight.shape[-1], at - len(layers)
        before = _between(layers[-1], layer, free, at == places[-1]) if layers else _pooled(free, takes, maps)
        if before is None:
            return None
        layers += [*before, layer]
    return nn.Sequential(*layers) if any(isinstance(layer, nn.Linear) for layer in layers) else None


def _pooled(free: int, takes: int, maps: tuple[int, ...]) -> list[Any] | None:
    """What fills the first ``free`` places: pooling and flattening of maps, and perhaps dropout; None for no head."""
    from torch import nn

    if len(maps) == 2:
        return [nn.Identity()] * free if free < 2 and takes == maps[1] else None
    if len(maps) != 4 or free not in (2, 3) or takes not in (maps[1], 2 * maps[1]):
        return None
    pool = nn.AdaptiveAvgPool2d(1) if takes == maps[1] else _concatenated()
    return [pool, nn.Flatten(), *[nn.Identity()] * (free - 2)]


def _concatenated() -> Any:
    """Maxima before means, as fastai's AdaptiveConcatPool2d puts them."""
    import torch

    class ConcatPool(torch.nn.Module):
        def forward(self, maps: Any) -> Any:
            return torch.cat([maps.amax((2, 3), keepdim=True), maps.mean((2, 3), keepdim=True)], 1)

    return ConcatPool()


def _between(before: Any, layer: Any, free: int, last: bool) -> list[Any] | None:
    """What stands on ``free`` places between two layers with weights; None where fastai writes no such head."""
    from torch import nn

    linear, then_linear = isinstance(before, nn.Linear), isinstance(layer, nn.Linear)
    if linear and not then_linear and free == (0 if last else 1):
        return [nn.ReLU()] * free
    if not linear and then_linear and free < 2:
        return [nn.Identity()] * free  # dropout
    return None
