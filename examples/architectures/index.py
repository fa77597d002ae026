"""Writes singaudit/classifier/convert/architectures.json: what the weights of every registered architecture look like.

    python examples/architectures/index.py            # some minutes; no weights are made, every network is built empty

With it a checkpoint that holds weights only is recognised by their names and shapes. Run it again when timm or
torchvision register new architectures; one that the index lacks is still opened with --arch.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import singaudit
from singaudit.classifier.convert.signature import body_signature, index_text
from singaudit.torchvision_import import import_torchvision

TARGET = Path(singaudit.__file__).parent / "classifier" / "convert" / "architectures.json"


def shapes_of(module: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the state dict."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def empty(make: Any, *arguments: Any, **options: Any) -> Any:
    """A network without memory for its weights; with it where its factory reads what it draws. None where it fails."""
    import torch

    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                return make(*arguments, **options)
        except Exception as error:
            print(f"{arguments} on {device}: {type(error).__name__}: {str(error)[:120]}", file=sys.stderr)
    return None


def timm_entries() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Every timm architecture with a classification head."""
    import timm

    for name in timm.list_models():
        module = empty(timm.create_model, name)
        if module is None:
            continue
        stated = module.pretrained_cfg.get("classifier")
        heads = (stated,) if isinstance(stated, str) else tuple(stated or ())
        shapes = shapes_of(module)
        if heads and all(shapes.get(f"{head}.weight", (0,))[0] == module.num_classes for head in heads):
            yield f"timm:{name}", heads, body_signature(shapes, heads)


def torchvision_entries() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Every torchvision classifier; its head is what changes its shape with the number of classes."""
    from torchvision import models

    for name in models.list_models(module=models):
        one, other = (empty(models.get_model, name, weights=None, num_classes=count) for count in (1000, 7))
        if one is None or other is None:
            continue
        shapes, fewer = shapes_of(one), shapes_of(other)
        changed = [key for key in shapes if shapes[key] != fewer[key]]
        heads = tuple(dict.fromkeys(key.rpartition(".")[0] for key in changed))
        yield f"torchvision:{name}", heads, body_signature(shapes, heads)


def main() -> None:
    """Writes the index."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    import_torchvision()
    entries = [*timm_entries(), *torchvision_entries()]
    TARGET.write_text(index_text(entries), encoding="utf-8")
    print(f"{len(entries)} architectures, {TARGET.stat().st_size:,} bytes: {TARGET.name}")


if __name__ == "__main__":
    main()
