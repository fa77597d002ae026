"""ONNX Runtime sessions over copies of a graph, with the tensors asked for as outputs."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singaudit.errors import ConfigError, MachineError, ModelError, SingauditError, short
from singaudit.machine import cuda_here

if TYPE_CHECKING:
    import onnx

    from singaudit.classifier.interface import RuntimeMode

CPU = ("CPUExecutionProvider",)
CUDA = "CUDAExecutionProvider"
_WEIGHT_ONLY_LEVEL = "session.qdq_matmulnbits_accuracy_level"
_EXACT_INTEGERS = "session.x64quantprecision"
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's option for where the external data of a model lies that is given as bytes."""


def providers(device: str) -> tuple[str, ...]:
    """ONNX Runtime's execution providers for a device, CUDA's with the card's number.

    ``auto`` means CUDA where torch has it and ONNX Runtime really opens a model there: the two are often built for
    different CUDA libraries, or only one for any.
    """
    if device == "cpu" or (device == "auto" and not (cuda_here() and why_unusable(CUDA) is None)):
        return CPU
    _, _, index = device.partition(":")
    return (f"{CUDA}:{index or 0}", *CPU)


@functools.cache
def why_unusable(provider: str) -> str | None:
    """Why ONNX Runtime cannot open a model on an execution provider here; None where it can."""
    import onnx

    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    value = onnx.helper.make_tensor_value_info("value", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["image"], ["value"])], "probe", [image], [value])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    try:
        make_session(model.SerializeToString(), None, (provider,), 1)
    except SingauditError as error:
        return error.message
    return None


def exposed(model: onnx.ModelProto, data: bytes, names: Sequence[str]) -> bytes:
    """The bytes ``data`` of ``model`` with ``names`` among the graph's outputs.

    Protocol buffers merge messages that stand one after the other, so that outputs are added without writing the
    weights again, which takes longer than reading them.
    """
    import onnx

    present = {item.name for item in model.graph.output}
    more = onnx.ModelProto()
    more.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    return data + more.SerializeToString()


def runtime() -> Any:
    """The module of ONNX Runtime, whichever distribution is installed. Raises ``ConfigError`` where none is."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"expected ONNX Runtime, which comes with one of two extras: {short(error)}",
            hint="Run pip install 'singaudit[cpu]', or 'singaudit[gpu]' for a machine with an NVIDIA card",
        ) from error
    return onnxruntime


def takes_files() -> bool:
    """Whether this ONNX Runtime takes files of external data from memory: those of before 2026 do not."""
    return hasattr(runtime().SessionOptions, "add_external_initializers_from_files_in_memory")


def make_session(
    model: bytes | str,
    folder: Path | None,
    providers: Sequence[str] = CPU,
    threads: int | None = None,
    mode: RuntimeMode = "optimised",
    few: bool = False,
    files: Mapping[str, Any] | None = None,
) -> Any:
    """An InferenceSession that is silent, takes external data from ``folder`` and runs on ``providers`` alone.

    ``model`` is the model's bytes, or its path, which needs no folder. ``files`` are contents of files of external data
    by name, anything with a buffer, where ONNX Runtime ``takes_files``. A provider may end in ``:N``, the number of its
    card. ``threads`` bounds the threads one operator uses; None leaves it to ONNX Runtime. ``mode`` is with or without
    its graph optimisation. ``few``: for few images, without a second copy of the weights in the order in which they are
    multiplied. ModelError when ONNX Runtime refuses the model, ConfigError when it cannot use the first provider.
    """
    onnxruntime = runtime()
    onnxruntime.set_default_logger_severity(4)  # libraries a provider lacks are reported below, in one message
    names = [name.partition(":")[0] for name in providers]
    missing = [name for name in names if name not in onnxruntime.get_available_providers()]
    if missing:
        raise _no_provider(missing[0])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if folder is not None:
        options.add_session_config_entry(_EXTERNAL_FOLDER, str(folder))
    if few:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if mode == "unoptimised":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # By default weights stored in 8 bits make ONNX Runtime round the activations too, which the file does not say.
    options.add_session_config_entry(_WEIGHT_ONLY_LEVEL, "1")
    # Processors without VNNI instructions add pairs of 8-bit products in 16 bits, which overflows without a word: a
    # file would compute something else here than elsewhere.
    options.add_session_config_entry(_EXACT_INTEGERS, "1")
    # Threads that wait for work by spinning take the cores from those that decode the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    if files:
        contents = [memoryview(content).cast("B") for content in files.values()]
        options.add_external_initializers_from_files_in_memory(list(files), contents, list(map(len, contents)))
    if names[0] == CUDA and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that came as Python packages
    try:
        session = onnxruntime.InferenceSession(
            model, sess_options=options, providers=[_with_options(name) for name in providers], enable_fallback=0
        )
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot open the model: {short(error)}",
            hint="Check it with onnx.checker.check_model, or export it again",
        ) from error
    if session.get_providers()[0] != names[0]:
        raise _no_provider(names[0])
    return session


def _with_options(provider: str) -> Any:
    """TF32 would round the head's products to 10 bits, a thousand times the proof's tolerance."""
    name, _, card = provider.partition(":")
    return (name, {"use_tf32": "0", "device_id": card or "0"}) if name == CUDA else name


def _no_provider(name: str) -> ConfigError:
    onnxruntime = runtime()
    return ConfigError(
        f"ONNX Runtime cannot use {name} here; it offers {', '.join(onnxruntime.get_available_providers())}, "
        "those that need a GPU only with its libraries installed",
        hint="Install the libraries it needs, or run on the CPU: --device cpu",
    )


def run(session: Any, outputs: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
    """One run; ModelError with ONNX Runtime's reason when it fails, MachineError when memory runs out."""
    options = runtime().RunOptions()
    options.log_severity_level = 4
    try:
        return list(session.run(list(outputs), feeds, options))
    except Exception as error:
        if any(words in str(error) for words in ("bad_alloc", "Failed to allocate memory", "out of memory")):
            raise MachineError(
                f"memory ran out while the classifier ran: {short(error)}", hint="Use a smaller --batch-size"
            ) from error
        raise ModelError(
            f"the model fails on an input of its own shape: {short(error)}",
            hint="Run it once with onnxruntime; it must accept a batch of images",
        ) from error
