"""Towers exported to ONNX once per checkpoint and kept in the cache: on a CPU they run faster than in torch."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.files import keep_file, kept_file
from singaudit.cache.store import Cache
from singaudit.classifier.graph.apart import GRAPH, INITIALIZER, RAW_DATA, SMALLEST, external, split
from singaudit.classifier.graph.session import make_session, takes_files
from singaudit.classifier.graph.wire import begin, message
from singaudit.errors import SingauditError, short
from singaudit.language.encoders.running.agreement import Embeddings, Probes, bits_stay, least_cosine, make_probes, most
from singaudit.language.encoders.running.beginnings import Beginnings
from singaudit.language.encoders.running.towers import (
    INPUTS,
    SMALL_PARAMETERS,
    OnnxTowers,
    Prepare,
    TorchTowers,
    Towers,
    abreast,
)
from singaudit.machine import arithmetic, beside, side_by_side

COSINE = 0.99999
"""Least cosine between an embedding of the export and of the torch tower, on every input compared."""
_OPSET = 17
_FORM = 2
"""Of what is exported, counted up where an earlier export would be read wrongly or is slower."""
_LARGEST = 1_900 * 2**20
"""Bytes of weights of a tower: a protocol buffer holds 2 GiB."""
_TOWERS = ("image", "text")


@dataclass(frozen=True)
class Exports:
    """The exports of one checkpoint."""

    cache: Cache
    """Where they are kept; without a folder they last as long as the opened model."""
    fingerprint: str
    """Of everything that decides the checkpoint's embeddings."""

    def kept(self) -> Towers | None:
        """Towers that were exported and checked before; None where there are none, or torch's are to be used."""
        facts = self.cache.recall(self._name()) or {}
        exact = facts.get("exact")
        if not isinstance(exact, bool):
            return None
        held = list(side_by_side(partial(kept_file, self.cache, "towers", self._identity(tower)) for tower in _TOWERS))
        data = [one for one in held if one is not None]
        if len(data) < len(_TOWERS):
            return None
        found = _towers(list(side_by_side(partial(_opened, one) for one in data)), exact, facts.get("beginnings"))
        found.runtime = str(facts.get("runtime", found.runtime))
        return found

    def made(self, towers: TorchTowers, prepare: Prepare, tokens: Sequence[Sequence[int]]) -> Towers:
        """The towers exported, compared with torch's and kept; torch's, with a word why, where that does not work.

        ``prepare`` makes an input of pixels; ``tokens`` are of some texts.
        """
        from singaudit.classifier.convert.export import quiet

        facts = self.cache.recall(self._name()) or {}
        reason = facts.get("torch") or _too_large_or_small(towers)
        if not reason:
            probes = make_probes(prepare, tokens)
            with quiet():
                wanted = beside(partial(probes.by, towers))
                # A tower that computes less is preferred, the library's own where there is none or it differs.
                for write in (_lean, _own):
                    exported, why = self._exported(partial(write, towers, probes), probes, wanted, reason)
                    if exported is not None:
                        return exported
                    reason = why or reason
            self.cache.remember(self._name(), {"torch": reason})
        towers.runtime = f"torch: {reason}"
        return towers

    def _exported(
        self, write: Callable[[], _Written | None], probes: Probes, wanted: Callable[[], Embeddings], before: str
    ) -> tuple[OnnxTowers | None, str]:
        """(towers, "") or (None, why not); ``wanted`` waits for what they are to give of ``probes``.

        ``before``: why others, which compute less, were refused.
        """
        try:
            written = write()
            if written is None:
                return None, ""
            sessions = list(side_by_side(written.sessions))
            found = _towers(sessions, False, written.beginnings)
            cosine = least_cosine(probes.by(found), wanted())
            if not cosine >= COSINE:
                return None, f"the export's embeddings have a cosine of {cosine:.6f} with torch's (required: {COSINE})"
            if bits_stay(partial(_towers, sessions, True, written.beginnings), probes.tokens):
                found = _towers(sessions, True, written.beginnings)
        except (MemoryError, OSError):
            raise
        except Exception as error:  # exporters fail in many ways on what they do not know
            said = error.message if isinstance(error, SingauditError) else short(error) or type(error).__name__
            return None, f"it cannot be exported to ONNX ({said[:200]})"
        if before:
            found.runtime = f"ONNX Runtime, the library's own towers: {before}"
        named = zip(_TOWERS, written.towers, strict=True)
        keep = (partial(keep_file, self.cache, "towers", self._identity(name), tower.file()) for name, tower in named)
        deque(side_by_side(keep), maxlen=0)
        facts = {"exact": found.exact, "beginnings": written.beginnings, "runtime": found.runtime}
        self.cache.remember(self._name(), facts)
        return found, ""

    def _identity(self, tower: str) -> dict[str, Any]:
        return {"encoder": self.fingerprint, "tower": tower, "opset": _OPSET, "form": _FORM}

    def _name(self) -> str:
        # What was found, bits included, is this processor's.
        return self.cache.name_of(
            "towers", {"encoder": self.fingerprint, "arithmetic": arithmetic("cpu"), "form": _FORM}
        )


@dataclass(frozen=True)
class _Tower:
    """A tower as ONNX. Its weights are those of the module, which no one copies but who must."""

    head: bytes
    """The model's fields but for its graph."""
    graph: bytes
    """The graph's fields but for its weights."""
    weights: list[tuple[bytes, NDArray[np.uint8]]]
    """Of each the fields of its message but for its bytes, and these."""

    def file(self) -> list[Any]:
        """Buffers that make the file, one after the other."""
        parts: list[Any] = []
        for about, weight in self.weights:
            about += begin(RAW_DATA, len(weight))
            parts += [begin(INITIALIZER, len(about) + len(weight)) + about, weight]
        size = len(self.graph) + sum(map(len, parts))
        return [self.head + begin(GRAPH, size) + self.graph, *parts]

    def session(self) -> Any:
        """It, opened by ONNX Runtime."""
        if not takes_files():
            return _opened(b"".join(self.file()))
        named = {f"weight-{i}": weight for i, (_, weight) in enumerate(self.weights) if len(weight) >= SMALLEST}
        messages = [
            external(about, name, 0, len(weight))
            if (name := f"weight-{i}") in named
            else message(INITIALIZER, about + message(RAW_DATA, weight.tobytes()))
            for i, (about, weight) in enumerate(self.weights)
        ]
        model = self.head + message(GRAPH, self.graph + b"".join(messages))
        return make_session(model, None, threads=abreast()[1], files=named)


@dataclass(frozen=True)
class _Written:
    """Exported towers, as ``_TOWERS`` names them."""

    towers: list[_Tower]
    sessions: list[Callable[[], Any]]
    """Open them."""
    beginnings: list[int] | None
    """As ``_towers`` takes them."""


def _both(image: Callable[[], _Tower], text: Callable[[], _Tower], beginnings: list[int] | None) -> _Written:
    """ONNX Runtime opens the first tower while torch writes the second."""
    first = image()
    opened = beside(first.session)
    second = text()
    return _Written([first, second], [opened, second.session], beginnings)


def _own(towers: TorchTowers, probes: Probes) -> _Written:
    """The towers as their library has them."""
    image = partial(_image_written, towers.image, probes.images)
    return _both(image, partial(_text_written, towers.text, probes.tokens, None), None)


def _lean(towers: TorchTowers, probes: Probes) -> _Written | None:
    """Towers that compute less, where there are any; as large as the others, and gone with what is returned."""
    lean = towers.lean()
    if lean is None:
        return None
    text, beginnings = towers.text, None
    if lean.text is not None:
        text, beginnings = lean.text, [lean.end, *lean.text.state]
    image = lean.image if lean.image is not None else towers.image
    written = partial(_text_written, text, probes.tokens, beginnings)
    return _both(partial(_image_written, image, probes.images), written, beginnings)


def _too_large_or_small(towers: TorchTowers) -> str:
    if towers.parameters < SMALL_PARAMETERS:
        return "too small to gain by an export"
    sizes = (sum(p.numel() * p.element_size() for p in module.parameters()) for module in (towers.image, towers.text))
    return "a tower is too large for an ONNX file of one piece" if max(sizes) > _LARGEST else ""


def _towers(sessions: Sequence[Any], exact: bool, beginnings: Sequence[int] | None) -> OnnxTowers:
    """Sessions of both towers; ``beginnings`` are the token that ends a text, and a state's layers, heads, numbers."""
    known = Beginnings(beginnings[0], beginnings[1:], exact) if beginnings else None
    return OnnxTowers(sessions[0], sessions[1], exact, abreast()[0], known)


def _image_written(module: Any, images: NDArray[np.float32]) -> _Tower:
    return _written(module, (images[:2],), ({0: "images"},))


def _text_written(module: Any, tokens: Sequence[Sequence[int]], beginnings: Sequence[int] | None) -> _Tower:
    """A text tower as ONNX; ``beginnings`` as ``_towers`` takes them."""
    rows, axes = most(tokens)[:2], {0: "texts", 1: "tokens"}
    if not beginnings:
        return _written(module, (rows,), (axes,))
    layers, heads, size = beginnings[1:]
    state, of_state = np.zeros((2, layers, heads, 3, size), np.float32), {0: "texts", 3: "begun"}
    return _written(module, (rows, state, state), (axes, of_state, of_state))


def _written(module: Any, samples: Sequence[NDArray[Any]], axes: Sequence[dict[int, str]]) -> _Tower:
    """The module as ONNX of free batch size, its first output embeddings, any other keys and values.

    Exported without its weights, which are put in afterwards: torch's passes copy them through protocol buffers again
    and again, more than half of the time. Two rows, so that no axis of length one is taken for a constant.
    """
    import onnx
    import torch

    stream, inputs = io.BytesIO(), INPUTS[: len(samples)]
    outputs = {"embeddings": {0: axes[0][0]}, "new_keys": {0: "texts", 3: "tokens"}, "new_values": {}}
    outputs["new_values"] = outputs["new_keys"]
    made = list(outputs)[: len(samples)]
    torch.onnx.export(
        module, tuple(torch.from_numpy(np.array(sample)) for sample in samples), cast(Any, stream), dynamo=False,
        opset_version=_OPSET,
        input_names=list(inputs), output_names=made, do_constant_folding=False, export_params=False,
        keep_initializers_as_inputs=True,
        dynamic_axes={**dict(zip(inputs, axes, strict=True)), **{name: outputs[name] for name in made}},
    )  # fmt: skip
    model = onnx.load_model_from_string(stream.getvalue())
    weights, held = module.state_dict(), [item.name for item in model.graph.input if item.name not in inputs]
    del model.graph.input[:]
    for name, sample, free in zip(inputs, samples, axes, strict=True):
        kind = onnx.helper.np_dtype_to_tensor_dtype(sample.dtype)
        shape = [free.get(i, length) for i, length in enumerate(sample.shape)]
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    return _Tower(model.SerializeToString(), graph, [_weight(name, weights[name]) for name in held])


def _weight(name: str, weight: Any) -> tuple[bytes, NDArray[np.uint8]]:
    """As ``_Tower`` takes it, in the weight's own memory."""
    import onnx

    array = np.ascontiguousarray(weight.numpy())
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    about = onnx.TensorProto(name=name, dims=array.shape, data_type=kind).SerializeToString()
    return about, array.reshape(-1).view(np.uint8)


def _opened(data: bytes) -> Any:
    """A tower's file, opened by ONNX Runtime."""
    apart = split(data) if takes_files() else None
    return make_session(apart[0] if apart else data, None, threads=abreast()[1], files=apart[1] if apart else None)
