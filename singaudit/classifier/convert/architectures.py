"""Networks by name, from timm and torchvision: built so that given weights fit, or not at all."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from singaudit.classifier.convert.signature import Shapes
from singaudit.errors import ModelError
from singaudit.torchvision_import import import_timm, import_torchvision
from singaudit.without_compiler import shapes_alone

REFUSED = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "scriptable", "no_jit",
     "exportable", "features_only"}
)  # fmt: skip
"""Arguments of timm's factory that would load something else than the weights at hand."""
_MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Architecture:
    """One registered network and the arguments it is built with."""

    library: str
    """timm or torchvision."""
    name: str
    """As the library registers it, a timm tag included."""
    classes: int | None = None
    """Logits; None: the library's default."""
    channels: int = 3
    """Of the input image."""
    size: tuple[int, int] | None = None
    """(height, width) in pixels for networks built for one size; None: the library's default."""
    arguments: tuple[tuple[str, Any], ...] = ()
    """More arguments of timm's factory, from a config.json."""

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"

    def build(self, *, empty: bool = False) -> Any:
        """The module in evaluation mode, randomly initialised; ``empty``: its shapes alone. Raises ModelError."""
        try:
            if not empty:
                return self._make().eval()
            try:
                with shapes_alone():
                    return self._make()
            except (NotImplementedError, RuntimeError):  # its factory reads what it draws
                return self._make()
        except ModelError:
            raise
        except MemoryError:
            raise
        except Exception as error:
            raise ModelError(
                f"{self} cannot be built: {type(error).__name__}: {str(error)[:200]}", hint="Check --arch."
            ) from error

    def _make(self) -> Any:
        if self.library == "timm":
            timm = import_timm()
            options = dict(self.arguments)
            if self.classes is not None:
                options["num_classes"] = self.classes
            if self.channels != 3:
                options["in_chans"] = self.channels
            if self.size is not None:
                options["img_size"] = self.size
            return timm.create_model(self.name, pretrained=False, exportable=True, **options)
        import_torchvision()
        from torchvision import models

        options = {} if self.classes is None else {"num_classes": self.classes}
        module = models.get_model(self.name, weights=None, **options)
        return module if self.channels == 3 else _with_channels(module, self.channels)


def _with_channels(module: Any, channels: int) -> Any:
    """torchvision's factories take no number of channels: its first convolution is replaced."""
    import torch

    for name, part in module.named_modules():
        if isinstance(part, torch.nn.Conv2d) and part.groups == 1:
            make: Any = torch.nn.Conv2d
            settings = (part.kernel_size, part.stride, part.padding, part.dilation)
            other = make(channels, part.out_channels, *settings, bias=part.bias is not None)
            module.set_submodule(name, other)
            return module
    raise ModelError(f"the network has no convolution to take {channels} channels")


def known(text: str, arguments: Mapping[str, Any] | None = None) -> list[Architecture]:
    """What a name means: ``timm:NAME``, ``torchvision:NAME``, or a name that either library registers.

    Raises ModelError for a name that neither knows, with the nearest ones that they do.
    """
    timm = import_timm()
    from torchvision import models

    library, colon, name = text.partition(":")
    if not colon:
        library, name = "", text
    safe = {key: value for key, value in (arguments or {}).items() if key not in REFUSED and _plain(value)}
    found = []
    if library in ("", "timm") and timm.is_model(name):
        found.append(Architecture("timm", name, arguments=tuple(sorted(safe.items()))))
    classifiers = models.list_models(module=models)
    if library in ("", "torchvision") and name in classifiers:
        found.append(Architecture("torchvision", name))
    if found:
        return found
    names = ([*timm.list_models()] if library != "torchvision" else []) + (classifiers if library != "timm" else [])
    near = difflib.get_close_matches(name.partition(".")[0], list(dict.fromkeys(names)), 4)
    raise ModelError(
        f"no architecture named {text[:100]!r} is registered in timm or torchvision",
        hint=f"Near names: {', '.join(near)}." if near else "Give --arch a name of timm.list_models() or torchvision.",
    )


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | str | bool | type(None)) or (
        isinstance(value, list) and all(isinstance(item, int | float | str | bool) for item in value)
    )


def adapted(architecture: Architecture, expected: Shapes, found: Shapes, module: Any) -> Architecture:
    """The architecture with as many classes, channels and pixels as the found shapes say; as it is where they fit.

    ``expected`` are the shapes of ``module``, a build of the architecture.
    """
    wrong = {name for name, shape in expected.items() if name in found and found[name] != shape}
    classes, channels, size = set(), set(), None
    default = int(getattr(module, "num_classes", 0) or 1000)
    for name in wrong:
        want, have = expected[name], found[name]
        if len(want) != len(have):
            continue
        if want[0] == default and want[1:] == have[1:]:
            classes.add(have[0])
        elif len(want) == 4 and want[1] == 3 and (want[0], *want[2:]) == (have[0], *have[2:]):
            channels.add(have[1])
        elif "pos_embed" in name:
            size = _size_of(module, have)
    if getattr(module, "num_classes", None) == 0:  # pretrained without a head; the weights were given one
        heads = [name for name in found if name not in expected and name.endswith(".weight") and len(found[name]) == 2]
        classes.update(found[name][0] for name in heads[-1:])
    if any(count > _MOST_CLASSES for count in classes):
        raise ModelError(f"the weights claim {max(classes):,} classes; expected at most {_MOST_CLASSES:,}")
    if len(classes) == 1:
        architecture = replace(architecture, classes=classes.pop())
    if len(channels) == 1:
        architecture = replace(architecture, channels=channels.pop())
    return replace(architecture, size=size) if size and architecture.library == "timm" else architecture


def _size_of(module: Any, embedding: tuple[int, ...]) -> tuple[int, int] | None:
    """(height, width) that a square grid of position embeddings (1, tokens, dim) stands for."""
    patch = getattr(getattr(module, "patch_embed", None), "patch_size", None)
    if patch is None or len(embedding) != 3:
        return None
    for extra in (int(getattr(module, "num_prefix_tokens", 0)), 0):
        side = math.isqrt(max(embedding[1] - extra, 0))
        if side > 0 and side * side == embedding[1] - extra and side * max(patch) <= 8192:
            return side * int(patch[0]), side * int(patch[1])
    return None
