"""Models of other libraries, known by their content, and the line that exports each to ONNX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from singaudit.errors import ModelError

_KERAS = (
    "In Keras 3: keras.saving.load_model(FILE).export('model.onnx', format='onnx'); with tf2onnx: "
    "tf2onnx.convert.from_keras(tf.keras.models.load_model(FILE), output_path='model.onnx')."
)
_SAVED_MODEL = "Export it: python -m tf2onnx.convert --saved-model DIR --output model.onnx."
_TFLITE = "Export it: python -m tf2onnx.convert --tflite FILE --output model.onnx."
_FROZEN = "Export it: python -m tf2onnx.convert --graphdef FILE --inputs NAME:0 --outputs NAME:0 --output model.onnx."
_CORE_ML = "Export the network it was converted from; an old .mlmodel: onnxmltools.convert_coreml(model)."
_OPENVINO = "Export the network that it was converted from to ONNX; OpenVINO reads that file too."
_PADDLE = "Export it: paddle2onnx --model_dir DIR --model_filename NAME.pdmodel --params_filename NAME.pdiparams "
_PADDLE += "--save_file model.onnx."
_FLAX = "Load it in its own library and export that network: jax2tf and tf2onnx, or transformers' from_flax=True."

_MINDSPORE = "Export it: mindspore.export(network, images, file_name='model', file_format='ONNX')."
_PEFT = "Merge it into its network, in PEFT: model.merge_and_unload().save_pretrained(DIR), and give that folder."
_DISTRIBUTED = "Make one file of it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIR model.pt."

STARTS: dict[bytes, tuple[str, str]] = {
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file (Keras)", _KERAS),
    b"GGUF": ("a GGUF file", "Export the classifier it was converted from to ONNX."),
    b"\x1f\x8b": ("a gzip archive", "Unpack it first."),
    b"BZh": ("a bzip2 archive", "Unpack it first."),
    b"\xfd7zXZ\0": ("an xz archive", "Unpack it first."),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "Unpack it first."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it first."),
    b"\x93NUMPY": ("a NumPy array", "Give the model that it belongs to."),
    b"ptrt": ("a TensorRT engine", "Give the ONNX file that it was built from; an engine holds no readable weights."),
    b"<?xml": ("an XML file (OpenVINO's graphs are)", _OPENVINO),
    b"<net ": ("an OpenVINO graph", _OPENVINO),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "Fetch it: git lfs pull."),
    b"<!DOCTYPE html": ("a web page", "Download the file itself: its address led to a page about it."),
    b"<html": ("a web page", "Download the file itself: its address led to a page about it."),
}
"""By the first bytes of a file: what it is, and what to do."""
_FOURTH: dict[bytes, tuple[str, str]] = {
    b"TFL3": ("a TensorFlow Lite file", _TFLITE),
    b"ORTM": ("a file in ONNX Runtime's own format", "Give the .onnx file that it was made from."),
    b"ET12": (
        "a program of ExecuTorch",
        "Give the network that it was made from: singaudit.export(module, example, path).",
    ),
}
"""By the bytes from the fourth on."""
_SUFFIXES: dict[str, tuple[str, str]] = {
    ".mlmodel": ("a Core ML model", _CORE_ML),
    **dict.fromkeys((".pdmodel", ".pdiparams", ".pdparams"), ("part of a PaddlePaddle model", _PADDLE)),
    ".onnx_data": ("the external data of an ONNX graph", "Give the .onnx file beside it."),
    **dict.fromkeys(
        (".caffemodel", ".prototxt"), ("part of a Caffe model", "Export it: python -m caffe2onnx, or mmdnn.")
    ),
    ".msgpack": ("a checkpoint of Flax", _FLAX),
    ".params": ("weights of MXNet", "Export it: mxnet.onnx.export_model(SYMBOL, PARAMS, shapes, onnx_file_path=FILE)."),
    **dict.fromkeys(
        (
            *(".mnn", ".rknn", ".dlc", ".hef", ".param", ".om", ".nb", ".tmfile", ".axmodel", ".bmodel", ".kmodel"),
            *(".blob", ".uff"),
        ),
        ("a model of a device's own runtime", "Give the ONNX file, or the network, that it was made from."),
    ),
    ".weights": ("weights of Darknet", "Export the network to ONNX; the file alone does not say what it is."),
    ".mindir": ("a model of MindSpore", _MINDSPORE),
    ".t7": ("a model of Torch7", "Export the network to ONNX; Lua's objects are not read."),
    ".cntk": ("a model of CNTK", "Export it: model.save('model.onnx', format=cntk.ModelFormat.ONNX)."),
    ".joblib": ("a pickle of joblib, which is never loaded", "Give an image classifier as ONNX."),
}
"""Of files that no first bytes tell from ONNX, by their suffix."""
_ZIPPED: tuple[tuple[str, str, str], ...] = (
    (r"(^|/)model\.weights\.h5$", "a Keras model", _KERAS),
    (r"\.mlmodel$", "a Core ML package", _CORE_ML),
    (r"(^|/)saved_model\.pb$", "a zipped SavedModel of TensorFlow", f"Unpack it. {_SAVED_MODEL}"),
    (r"^MAR-INF/", "an archive of TorchServe", "Unpack it and give the weights or the TorchScript inside."),
    (r"\.npy$", "an archive of NumPy arrays (.npz)", _FLAX),
    (r"\.(onnx|pt|pth|safetensors|ckpt)$", "a zip archive with a model inside", "Unpack it and give the model."),
)
"""By the name of an entry of a zip archive."""
_FOLDERS: tuple[tuple[str, str, str], ...] = (
    (r"^adapter_(config\.json|model\.\w+)$", "an adapter of PEFT without the network that it changes", _PEFT),
    (r"\.distcp$", "a distributed checkpoint of torch", _DISTRIBUTED),
    (r"\.ckpt(-\d+)?\.index$", "a checkpoint of TensorFlow 1", _FROZEN),
    (r"^_CHECKPOINT_METADATA$", "a checkpoint of Orbax", _FLAX),
    (r"^saved_model\.pb$", "a SavedModel of TensorFlow", _SAVED_MODEL),
    (r"^(tf_model\.h5|.*\.keras)$", "a model of Keras", _KERAS),
    (r"^(flax_model\.msgpack|_METADATA)$", "a checkpoint of Flax", _FLAX),
    (r"\.(mlmodel|mlpackage)$|^Manifest\.json$", "a Core ML package", _CORE_ML),
    (r"\.(pdmodel|pdiparams)$", "a model of PaddlePaddle", _PADDLE),
    (r"^openvino_model\.xml$|\.xml$", "an OpenVINO model", _OPENVINO),
    (r"\.tflite$", "a TensorFlow Lite model", _TFLITE),
    (r"\.(ncnn\.param|param)$", "an ncnn model", "Export the network that it was converted from to ONNX."),
    (r"\.(engine|plan|trt)$", "a TensorRT engine", STARTS[b"ptrt"][1]),
)
"""By the name of a file in a folder."""


def refuse_start(path: Path, start: bytes) -> None:
    """ModelError where a file begins as another library's does."""
    for magic, (what, hint) in STARTS.items():
        if start.startswith(magic):
            raise ModelError(f"{path.name} is {what}; expected a classifier", hint=hint)
    if (
        start[:1] == b"\x0a" and path.suffix.lower() == ".pb"
    ):  # an ONNX file begins with its version, a graph with a node
        raise ModelError(f"{path.name} is a frozen graph of TensorFlow; expected a classifier", hint=_FROZEN)
    if path.stem == "adapter_model":
        raise ModelError(f"{path.name} is an adapter of PEFT, not the network that it changes", hint=_PEFT)
    what, hint = _FOURTH.get(start[4:8]) or _SUFFIXES.get(path.suffix.lower()) or ("", "")
    if what:
        raise ModelError(f"{path.name} is {what}; expected a classifier", hint=hint)


def refuse_archive(path: Path, names: Iterable[str]) -> None:
    """ModelError where a zip archive with entries of these names is another library's model, or holds one."""
    found = _first(_ZIPPED, list(names))
    if found is not None:
        raise ModelError(f"{path.name} is {found[0]}; expected a classifier", hint=found[1])


def in_folder(names: Sequence[str]) -> tuple[str, str] | None:
    """(what a folder of files of these names holds, what to do) where that is another library's model."""
    return _first(_FOLDERS, names)


def _first(table: Iterable[tuple[str, str, str]], names: Sequence[str]) -> tuple[str, str] | None:
    for pattern, what, hint in table:
        if any(re.search(pattern, name) for name in names):
            return what, hint
    return None
