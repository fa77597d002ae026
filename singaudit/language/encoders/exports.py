"""Towers exported to ONNX once per checkpoint and kept in the cache: on a CPU they run faster than in torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.files import keep_file, kept_file
from singaudit.cache.store import Cache
from singaudit.classifier.graph.session import make_session
from singaudit.errors import SingauditError, short
from singaudit.language.encoders.towers import SMALL_PARAMETERS, OnnxTowers, Prepare, TorchTowers, Towers, unit
from singaudit.machine import arithmetic, cores

COSINE = 0.99999
"""Least cosine between an embedding of the export and of the torch tower, on every input compared."""
_IMAGES = 8
"""Images on which an export is compared with the torch tower, beside three times as many texts."""
_OPSET = 17
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
        exact, sessions = facts.get("exact"), []
        if not isinstance(exact, bool):
            return None
        for tower in _TOWERS:
            data = kept_file(self.cache, "towers", self._identity(tower))
            if data is None:
                return None
            sessions.append(_session(data))
        return OnnxTowers(sessions[0], sessions[1], exact, _side_by_side()[0])

    def made(self, towers: TorchTowers, prepare: Prepare, tokens: Sequence[Sequence[int]]) -> Towers:
        """The towers exported, compared with torch's and kept; torch's, with a word why, where that does not work.

        ``prepare`` makes an input of pixels; ``tokens`` are of some texts.
        """
        facts = self.cache.recall(self._name()) or {}
        reason = facts.get("torch") or _too_large_or_small(towers)
        exported: OnnxTowers | None = None
        if not reason:
            exported, reason = self._exported(towers, prepare, tokens)
            self.cache.remember(self._name(), {"exact": exported.exact} if exported else {"torch": reason})
        if exported is not None:
            return exported
        towers.runtime = f"torch: {reason}"
        return towers

    def _exported(
        self, towers: TorchTowers, prepare: Prepare, tokens: Sequence[Sequence[int]]
    ) -> tuple[OnnxTowers | None, str]:
        """(towers, "") or (None, why not)."""
        from singaudit.classifier.convert.export import quiet

        images, batches = _images(prepare), _by_length(tokens)
        written: dict[str, bytes] = {}
        try:
            with quiet():
                written["image"] = _written(towers.image, images[:2], {0: "images"})
                written["text"] = _written(towers.text, _longest(batches)[:2], {0: "texts", 1: "tokens"})
            sessions = [_session(written[tower]) for tower in _TOWERS]
            found = OnnxTowers(sessions[0], sessions[1], False, _side_by_side()[0])
            pairs = [(found.images(images), towers.images(images))]
            pairs += list(zip(found.texts(batches), towers.texts(batches), strict=True))
            cosine = min(float((unit(a) * unit(b)).sum(axis=1, dtype=np.float64).min()) for a, b in pairs)
            if not cosine >= COSINE:
                return None, f"the export's embeddings have a cosine of {cosine:.6f} with torch's (required: {COSINE})"
            found.exact = _exact(found, batches)
        except (MemoryError, OSError):
            raise
        except Exception as error:  # exporters fail in many ways on what they do not know
            said = error.message if isinstance(error, SingauditError) else short(error) or type(error).__name__
            return None, f"it cannot be exported to ONNX ({said[:200]})"
        for tower in _TOWERS:
            keep_file(self.cache, "towers", self._identity(tower), written[tower])
        return found, ""

    def _identity(self, tower: str) -> dict[str, Any]:
        return {"encoder": self.fingerprint, "tower": tower, "opset": _OPSET}

    def _name(self) -> str:
        # What was found, bits included, is this processor's.
        return self.cache.name_of("towers", {"encoder": self.fingerprint, "arithmetic": arithmetic("cpu")})


def _too_large_or_small(towers: TorchTowers) -> str:
    if towers.parameters < SMALL_PARAMETERS:
        return "too small to gain by an export"
    sizes = (sum(p.numel() * p.element_size() for p in module.parameters()) for module in (towers.image, towers.text))
    return "a tower is too large for an ONNX file of one piece" if max(sizes) > _LARGEST else ""


def _images(prepare: Prepare) -> NDArray[np.float32]:
    """Prepared pictures of noise, each smooth in another degree: towers see plain areas and edges."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(_IMAGES):
        coarse = rng.integers(0, 256, (2 + 2 * i, 3 + 2 * i, 3), dtype=np.uint8)
        made.append(prepare(np.kron(coarse, np.ones((-(-240 // len(coarse)),) * 2 + (1,), np.uint8))))
    return np.stack(made)


def _by_length(tokens: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    return [
        np.array([ids for ids in tokens if len(ids) == length], np.int64) for length in sorted({len(t) for t in tokens})
    ]


def _longest(batches: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return max(batches, key=len)


def _written(module: Any, sample: NDArray[Any], axes: dict[int, str]) -> bytes:
    """The module as an ONNX file of free batch size.

    Exported without its weights, which are put in afterwards: torch's passes copy them through protocol buffers again
    and again, more than half of the time. Two rows, so that no axis of length one is taken for a constant.
    """
    import onnx
    import torch

    stream = io.BytesIO()
    torch.onnx.export(
        module, (torch.from_numpy(np.ascontiguousarray(sample)),), cast(Any, stream), dynamo=False,
        opset_version=_OPSET,
        input_names=["rows"], output_names=["embeddings"], do_constant_folding=False, export_params=False,
        keep_initializers_as_inputs=True, dynamic_axes={"rows": axes, "embeddings": {0: axes[0]}},
    )  # fmt: skip
    model = onnx.load_model_from_string(stream.getvalue())
    weights, held = module.state_dict(), [item.name for item in model.graph.input if item.name != "rows"]
    del model.graph.input[:]
    model.graph.input.append(
        onnx.helper.make_tensor_value_info(
            "rows",
            onnx.helper.np_dtype_to_tensor_dtype(sample.dtype),
            [axes.get(i, length) for i, length in enumerate(sample.shape)],
        )
    )
    return b"".join([model.SerializeToString(), *(part for name in held for part in _initializer(name, weights[name]))])


def _initializer(name: str, weight: Any) -> list[bytes]:
    """A weight as a protocol buffer of a model that holds nothing else; such messages merge where one follows another.

    The bytes of the weight are copied once, not once for each message that it lies in.
    """
    import onnx

    array = np.ascontiguousarray(weight.numpy())
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    about = onnx.TensorProto(name=name, dims=array.shape, data_type=kind).SerializeToString()
    about += _field(9, array.nbytes)  # TensorProto.raw_data
    graph = _field(5, len(about) + array.nbytes)  # GraphProto.initializer
    return [_field(7, len(graph) + len(about) + array.nbytes), graph, about, array.tobytes()]  # ModelProto.graph


def _field(number: int, length: int) -> bytes:
    """How a field of so many bytes begins in a protocol buffer."""
    found = bytearray([number << 3 | 2])
    while length > 127:
        found.append(length & 127 | 128)
        length >>= 7
    return bytes(found) + bytes([length])


def _session(data: bytes) -> Any:
    return make_session(data, None, threads=_side_by_side()[1])


def _side_by_side() -> tuple[int, int]:
    """(pieces run side by side, threads of each): a usual batch has four pieces."""
    pieces = min(cores(), 4)
    return pieces, max(1, cores() // pieces)


def _exact(towers: OnnxTowers, batches: Sequence[NDArray[np.int64]]) -> bool:
    """Whether texts alone, two and all of a length have the same bits, so that no batch has to be filled up."""
    whole = _longest(batches)
    together = towers.texts([whole])[0]
    alone = towers.texts([whole[i : i + 1] for i in range(len(whole))])
    pair = towers.texts([whole[:2]])[0]
    return bool(np.array_equal(together, np.concatenate(alone)) and np.array_equal(together[:2], pair))
