"""A torch network as an ONNX file that computes the same, which is checked; runs in the converting process."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.convert.network import Network
from singaudit.classifier.head.first_run import random_images
from singaudit.classifier.interface import RuntimeMode
from singaudit.classifier.preprocessing.resolve import resolve_preprocessing
from singaudit.classifier.preprocessing.syntax import format_preprocess
from singaudit.errors import ModelError

OPSET = 17
_NEWEST = 20
"""The last opset that TorchScript's exporter writes."""
TOLERANCE = 1e-3
"""Largest difference allowed between the logits of the export and of the native module, over the largest logit.
ONNX Runtime's optimiser alone moves those of some convolutional networks by 8e-4; where it moves them by more, the
export is judged without it."""
_DYNAMO_OPSET = 18
_IMAGES = 4


def export(network: Network, stated: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Write the network to ``path`` as ONNX and compare the two on random images; what was done, in words.

    ``stated`` are the keys of the user's ``--preprocess``. TorchScript's exporter comes first: it knows every operator
    of usual classifiers and keeps the names of weights. torch's newer exporter follows where that one fails or where
    its graph computes something else. Raises ModelError where neither gives the network.
    """
    images = _images(network, stated)
    native = _native(network, images)
    reasons = []
    for title, write in (("TorchScript exporter", _by_torchscript), ("dynamo exporter", _by_dynamo)):
        try:
            with quiet():
                opset = write(network, images, path)
            difference = _difference(path, images, native, network.batch)
        except (MemoryError, OSError):
            raise
        except Exception as error:  # exporters fail in many ways on what they do not know
            reasons.append(f"{title}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            continue
        if difference <= TOLERANCE:
            _describe(path, network)
            return {
                "exported by": f"torch {_torch_version()}, {title}, opset {opset}",
                "export check": f"logits differ from the torch module's by at most {difference:.1e} of the largest, on "
                f"{len(images)} random images (allowed {TOLERANCE:g})",
            }
        reasons.append(f"{title}: its logits differ by {difference:.1e} of the largest (allowed {TOLERANCE:g})")
    raise ModelError(
        f"the network cannot be exported to ONNX: {'; '.join(reasons)}",
        hint="Export it yourself and give the .onnx file.",
    )


def _torch_version() -> str:
    import torch

    return str(torch.__version__)


def _images(network: Network, stated: Mapping[str, Any]) -> NDArray[np.generic]:
    """(n, ...) random images, prepared as the classifier's will be."""
    known = {**network.statements.defaults, **network.statements.preprocess, **stated}
    shape: list[int | None] = [None, *network.shape]
    how = resolve_preprocessing(None, {**known, "layout": network.layout}, shape, network.dtype)
    return random_images(how, network.batch or _IMAGES, 5)


def _native(network: Network, images: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    """The outputs of the module itself."""
    import torch

    try:
        with torch.inference_mode(), quiet():
            found = _tensors(network.module(torch.from_numpy(np.ascontiguousarray(images))))
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ModelError(
            f"the network fails on images of shape {images.shape[1:]}: {' '.join(str(error).split())[:200]}",
            hint="State the size it was trained with: --preprocess size=HEIGHTxWIDTH.",
        ) from error
    arrays = [tensor.float().numpy() for tensor in found.values()]
    if not arrays or not any(array.ndim >= 2 and len(array) == len(images) for array in arrays):
        raise ModelError("the network gives no logits, one row an image", hint="Give an image classifier.")
    return arrays


def _tensors(output: Any) -> dict[str, Any]:
    """The tensors of what a module returns, by name: its logits alone where it names them so."""
    import torch

    if isinstance(output, torch.Tensor):
        return {"logits": output}
    if isinstance(output, Mapping):
        if isinstance(output.get("logits"), torch.Tensor):
            return {"logits": output["logits"]}
        return {str(name): value for name, value in output.items() if isinstance(value, torch.Tensor)}
    if hasattr(output, "_asdict"):
        return _tensors(output._asdict())
    if isinstance(output, list | tuple):
        return {f"output_{i}": value for i, value in enumerate(output) if isinstance(value, torch.Tensor)}
    return {}


def _plain(module: Any, image: Any) -> tuple[Any, list[str]]:
    """The module with nothing but tensors as outputs, and their names."""
    import torch

    with torch.inference_mode():
        output = module(image)
    names = list(_tensors(output))
    if isinstance(output, torch.Tensor) or isinstance(module, torch.jit.ScriptModule):
        return module, names

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, image: Any) -> Any:
            found = tuple(_tensors(self.network(image)).values())
            return found if len(found) > 1 else found[0]

    return Plain().eval(), names


def _by_torchscript(network: Network, images: NDArray[np.generic], path: Path) -> int:
    """Write the graph; returns its opset: the usual one, or the exporter's newest where an operator needs it."""
    import torch

    # Two images, so that no axis of length one is taken for a constant.
    sample = torch.from_numpy(np.ascontiguousarray(images[: network.batch or 2]))
    module, names = _plain(network.module, sample)
    axes = None if network.batch else {name: {0: "batch"} for name in ("image", *names)}
    for opset in (OPSET, _NEWEST):
        try:
            torch.onnx.export(
                module,
                (sample,),
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=["image"],
                output_names=names,
                dynamic_axes=axes,
            )
        except torch.onnx.errors.UnsupportedOperatorError:
            if opset == _NEWEST:
                raise
        else:
            break
    return opset


def _by_dynamo(network: Network, images: NDArray[np.generic], path: Path) -> int:
    import torch

    if isinstance(network.module, torch.jit.ScriptModule):
        raise ModelError("takes no TorchScript")
    sample = torch.from_numpy(np.ascontiguousarray(images[: network.batch or 2]))
    module, names = (network.program, None) if network.program is not None else _plain(network.module, sample)
    shapes = None if network.batch or network.program is not None else ({0: torch.export.Dim("batch")},)
    torch.onnx.export(
        module, (sample,), str(path), dynamo=True, external_data=False, verbose=False, input_names=["image"],
        opset_version=_DYNAMO_OPSET, output_names=names, dynamic_shapes=shapes,
    )  # fmt: skip
    return _DYNAMO_OPSET


def _difference(path: Path, images: NDArray[np.generic], native: list[NDArray[np.float32]], batch: int | None) -> float:
    """Largest difference of any output over its largest magnitude; on fewer images than it was exported with too.

    Without ONNX Runtime's graph optimisation where that makes the difference: the export is judged, not the optimiser.
    """
    optimised = _difference_in("optimised", path, images, native, batch)
    if optimised <= TOLERANCE:
        return optimised
    return min(optimised, _difference_in("unoptimised", path, images, native, batch))


def _difference_in(
    mode: RuntimeMode, path: Path, images: NDArray[np.generic], native: list[NDArray[np.float32]], batch: int | None
) -> float:
    from singaudit.classifier.graph.session import make_session, run

    session = make_session(path.read_bytes(), path.parent, mode=mode)
    name = session.get_inputs()[0].name
    outputs = [item.name for item in session.get_outputs()]
    worst = 0.0
    for count in (len(images),) if batch else (len(images), 1):
        found = run(session, outputs, {name: np.ascontiguousarray(images[:count])})
        for have, want in zip(found, native, strict=True):
            largest = max(float(np.abs(want).max(initial=0.0)), 1e-12)
            difference = float(np.abs(have - want[:count]).max(initial=0.0)) / largest
            worst = max(worst, difference if np.isfinite(difference) else float("inf"))
    return worst


def _describe(path: Path, network: Network) -> None:
    """Preprocessing, class names and activation as metadata of the file.

    Appended: messages that stand one after the other merge, so that the weights are not read and written again.
    """
    import onnx

    stated, message = network.statements, onnx.ModelProto()
    known = {**stated.defaults, **stated.preprocess}
    known.pop("size", None)  # the graph's own
    entries = {
        "singaudit.preprocess": format_preprocess(known),
        "singaudit.classes": json.dumps(list(stated.class_names)) if stated.class_names else "",
        "singaudit.activation": stated.activation or "",
    }
    for key, value in entries.items():
        if value:
            message.metadata_props.add(key=key, value=value)
    with path.open("ab") as stream:
        stream.write(message.SerializeToString())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters speak of what users cannot change."""
    previous = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
