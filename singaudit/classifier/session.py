"""ONNX Runtime sessions over copies of a graph, with the tensors asked for as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singaudit.errors import MachineError, ModelError

if TYPE_CHECKING:
    import onnx

_WEIGHT_ONLY_LEVEL = "session.qdq_matmulnbits_accuracy_level"
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"


def exposed(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """The model serialised with ``names`` as its only outputs; the model itself is as before afterwards."""
    from onnx import ValueInfoProto

    graph = model.graph
    kept = list(graph.output)
    by_name = {item.name: item for item in kept}
    try:
        del graph.output[:]
        graph.output.extend(by_name.get(name, ValueInfoProto(name=name)) for name in names)
        return model.SerializeToString()
    finally:
        del graph.output[:]
        graph.output.extend(kept)


def make_session(
    data: bytes, folder: Path, providers: Sequence[str] = ("CPUExecutionProvider",), threads: int | None = None
) -> Any:
    """An InferenceSession that is silent, takes external data from ``folder`` and runs on ``providers`` alone.

    ``threads`` bounds the threads one operator uses; None leaves it to ONNX Runtime. ModelError when ONNX Runtime
    refuses the model.
    """
    import onnxruntime

    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:
        raise ModelError(
            f"ONNX Runtime here has no {', '.join(missing)}; it has {', '.join(onnxruntime.get_available_providers())}",
            hint="run on the CPU: --device cpu",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(_EXTERNAL_FOLDER, str(folder))
    # By default weights stored in 8 bits make ONNX Runtime round the activations too, which the file does not say.
    options.add_session_config_entry(_WEIGHT_ONLY_LEVEL, "1")
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(data, sess_options=options, providers=list(providers))
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot open the model: {short(error)}",
            hint="check it with onnx.checker.check_model, or export it again",
        ) from error


def run(session: Any, outputs: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
    """One run; ModelError with ONNX Runtime's reason when it fails, MachineError when memory runs out."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    try:
        return list(session.run(list(outputs), feeds, options))
    except Exception as error:
        if any(words in str(error) for words in ("bad_alloc", "Failed to allocate memory", "out of memory")):
            raise MachineError(
                f"memory ran out while the classifier ran: {short(error)}", hint="use a smaller --batch-size"
            ) from error
        raise ModelError(
            f"the model fails on an input of its own shape: {short(error)}",
            hint="run it once with onnxruntime; it must accept a batch of images",
        ) from error


def short(error: BaseException) -> str:
    """The first 300 characters of an error's text, on one line."""
    text = " ".join(str(error).split())
    return text[:300] + ("..." if len(text) > 300 else "")
