"""The child of :mod:`singaudit.classifier.convert.process`: reads a torch network under limits and exports it.

Run as ``python -m singaudit.classifier.convert.worker`` with the request as JSON on standard input. The answer, or
what went wrong, stands in a JSON file beside the exported graph.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singaudit import child

if TYPE_CHECKING:
    from singaudit.classifier.convert.network import Network


def _weights(request: Mapping[str, Any], stated: Mapping[str, Any]) -> Network:
    from singaudit.classifier.convert.from_checkpoint import weights_network

    return weights_network(request["files"], request["arch"], request["allow_code"], stated, request["name"])


def _timm(request: Mapping[str, Any], stated: Mapping[str, Any]) -> Network:
    from singaudit.classifier.convert.from_timm import timm_network

    return timm_network(request["files"], request["arch"], stated)


def _torchvision(request: Mapping[str, Any], stated: Mapping[str, Any]) -> Network:
    from singaudit.classifier.convert.from_torchvision import torchvision_network

    return torchvision_network(request["files"], request["arch"], request["weights"], stated)


def _transformers(request: Mapping[str, Any], stated: Mapping[str, Any]) -> Network:
    from singaudit.classifier.convert.from_transformers import transformers_network

    return transformers_network(request["files"], request["config"], request["processor"], stated)


def _program(request: Mapping[str, Any], stated: Mapping[str, Any]) -> Network:
    from singaudit.classifier.convert.from_program import program_network

    return program_network(request["files"][0], request["content"], stated)


READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Network]] = {
    "weights": _weights,
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "program": _program,
}


def _convert(request: Mapping[str, Any], out: Path) -> dict[str, Any]:
    import torch

    from singaudit.classifier.convert.export import export
    from singaudit.classifier.preprocessing.syntax import parse_preprocess

    torch.set_grad_enabled(False)
    stated = parse_preprocess(request["preprocess"]) if request["preprocess"] else {}
    network = READERS[request["kind"]](request, stated)
    done = export(network, stated, out)
    said = network.statements
    return {
        "description": {**network.description, **done},
        "stated": bool(said.preprocess),
        "source": said.source,
        "defaults": [
            *(key for key in said.defaults if key not in said.preprocess),
            *said.preprocess.get("guesses", ()),
        ],
        "defaults_source": said.defaults_source,
        "size_guessed": network.size_guessed,
        "class_names_source": said.class_names_source,
        "stored": network.stored,
    }


def main() -> None:
    """Reads the request, writes the graph and the answer."""
    request = json.load(sys.stdin)
    # Nothing is fetched here: what a name leads to was downloaded before.
    os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRANSFORMERS_NO_ADVISORY_WARNINGS="1")
    child.settle_in(int(request["memory"]), address_space=False)
    out = Path(request["out"])
    try:
        answer = _convert(request, out)
    except Exception as error:
        answer = child.as_fields(error, "read and export the network", "Allow more: --model-memory GIB.")
    out.with_suffix(".json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
