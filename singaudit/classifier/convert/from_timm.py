"""A network of timm with the weights that timm registers for it, in the converting process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.classifier.convert.library_defaults import timm_class_names, timm_preprocess
from singaudit.classifier.convert.network import Network, Statements, stored_as
from singaudit.classifier.convert.state_dict import read_weights
from singaudit.errors import ModelError
from singaudit.torchvision_import import import_timm


def timm_network(files: Sequence[str], name: str, stated: Mapping[str, Any]) -> Network:
    """In the converting process: the network with every weight of the file loaded by timm itself."""
    timm = import_timm()
    weights = read_weights([Path(file) for file in files])
    config = timm.models.get_pretrained_cfg(name).to_dict()
    with complete(name):
        module = timm.create_model(
            name,
            pretrained=True,
            exportable=True,
            pretrained_cfg_overlay={"state_dict": weights.tensors, "custom_load": False, "source": ""},
        )
    preprocess = timm_preprocess(config)
    height, width = stated.get("size") or preprocess.get("size") or (224, 224)
    names, source = timm_class_names(config)
    return Network(
        module=module.eval().float(),
        shape=(int(config.get("input_size", (3,))[0]), height, width),
        statements=Statements(preprocess, "timm pretrained_cfg", {}, "", names, source),
        description={"format": weights.kind, "architecture": f"timm:{name}"},
        stored=stored_as(weights.tensors),
    )


@contextlib.contextmanager
def complete(name: str) -> Iterator[None]:
    """While it holds, a module that loads a state dict gets all of its weights from it; ModelError otherwise.

    timm fills what a file lacks with random weights where a factory allows that.
    """
    import torch

    load = torch.nn.Module.load_state_dict

    def checked(self: Any, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        result = load(self, state_dict, *arguments, **options)
        missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
        if missing:
            raise ModelError(
                f"the weights of {name} lack {len(missing)} of the network's tensors: {', '.join(missing[:4])}",
                hint="Choose another tag; nothing is filled with random weights.",
            )
        return result

    torch.nn.Module.load_state_dict = checked  # type: ignore[method-assign]
    try:
        yield
    except ModelError:
        raise
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise ModelError(
            f"the weights do not fit timm:{name}: {' '.join(str(error).split())[:300]}",
            hint="Update timm, or delete the file from the cache and fetch it again.",
        ) from error
    finally:
        torch.nn.Module.load_state_dict = load  # type: ignore[method-assign]
