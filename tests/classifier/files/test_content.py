"""Files are known by their content, in bounded looks; what is no model is named for what it is."""

import os
import socket
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from tiny_networks import Net, rezipped

from singaudit.classifier.files.content import recognise
from singaudit.classifier.openers.hub import open_folder
from singaudit.classifier.options import ModelOptions
from singaudit.errors import ModelError


def saved(folder, kind):
    net, x = Net().eval(), torch.zeros(2, 3, 16, 16)
    path = folder / "model.onnx"  # no suffix helps
    if kind == "TorchScript":
        torch.jit.save(torch.jit.trace(net, x), path)
    elif kind == "exported program":
        torch.export.save(torch.export.export(net, (x,)), folder / "model.pt2")
        os.rename(folder / "model.pt2", path)
    elif kind == "safetensors":
        save_file(net.state_dict(), path)
    else:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("zip", "weights"),
        ("legacy", "weights"),
        ("safetensors", "weights"),
        ("TorchScript", "TorchScript"),
        ("exported program", "exported program"),
    ],
)
def test_torchs_formats_are_known_by_their_content(tmp_path, kind, content):
    assert recognise(saved(tmp_path, kind)) == content


def test_onnx_files_and_folders_are_known(tmp_path, models):
    assert recognise(models / "clean.onnx") == "onnx"
    (tmp_path / "weights.pt").write_bytes((models / "clean.onnx").read_bytes())
    assert recognise(tmp_path / "weights.pt") == "onnx"
    assert recognise(tmp_path) == "folder"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5 file"),
        (b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
        (b"\x1f\x8b" + bytes(99), "gzip"),
        (b"BZh9" + bytes(99), "bzip2"),
        (b"\x18\0\0\0ORTM" + bytes(99), "ONNX Runtime's own format"),
        (b"ptrt" + bytes(99), "TensorRT engine"),
        (b"<?xml version='1.0'?><net name='m'>", "XML file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (bytes(257) + b"ustar" + bytes(300), "tar archive"),
        (b"PK\x05\x06" + bytes(18), "empty or split zip"),
        (b"PK\x03\x04" + bytes(99), "damaged or cut-short archive"),
        (b"hello, I am text", "neither a torch checkpoint nor safetensors"),
        (b"\xde\xad\xbe\xef" * 2 + bytes(4096), "neither a torch checkpoint nor safetensors"),
    ],
)
def test_what_is_no_model_is_named(tmp_path, content, message):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        recognise(tmp_path / "w.pt")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("entry", "message", "line"),
    [
        ("model.weights.h5", "a Keras model", "format='onnx'"),
        ("Data/com.apple.CoreML/model.mlmodel", "a Core ML package", "converted from"),
        ("MAR-INF/MANIFEST.json", "an archive of TorchServe", "Unpack"),
        ("export/model.onnx", "a zip archive with a model inside", "Unpack"),
        ("params.npy", "an archive of NumPy arrays", "export"),
    ],
)
def test_archives_of_other_libraries_are_told_with_their_own_way_to_onnx(tmp_path, entry, message, line):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr(entry, b"x")
    with pytest.raises(ModelError, match=message) as caught:
        recognise(tmp_path / "m.keras")
    assert line in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message", "line"),
    [
        ("saved_model.pb", "a SavedModel of TensorFlow", "--saved-model"),
        ("tf_model.h5", "a model of Keras", "from_keras"),
        ("flax_model.msgpack", "a checkpoint of Flax", "Load it"),
        ("inference.pdmodel", "a model of PaddlePaddle", "paddle2onnx"),
        ("openvino_model.xml", "an OpenVINO model", "Export"),
        ("m.tflite", "a TensorFlow Lite model", "--tflite"),
        ("Manifest.json", "a Core ML package", "Export"),
        ("adapter_model.safetensors", "an adapter of PEFT", "merge_and_unload"),
        ("__0_0.distcp", "a distributed checkpoint of torch", "dcp_to_torch"),
        ("model.ckpt-100.index", "a checkpoint of TensorFlow 1", "--graphdef"),
        ("_CHECKPOINT_METADATA", "a checkpoint of Orbax", "Load it"),
    ],
)
def test_folders_of_other_libraries_are_told_with_their_own_way_to_onnx(tmp_path, name, message, line):
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=message) as caught:
        open_folder(tmp_path, ModelOptions())
    assert line in caught.value.hint


@pytest.mark.parametrize(
    ("name", "message"),
    [("m.mlmodel", "Core ML"), ("m.pdmodel", "PaddlePaddle"), ("m.onnx_data", "external data"), ("m.params", "MXNet"),
     ("m.caffemodel", "Caffe"), ("m.rknn", "device's own runtime"), ("m.weights", "Darknet"),
     ("m.mindir", "MindSpore"), ("m.t7", "Torch7"), ("m.cntk", "CNTK"), ("m.pdparams", "PaddlePaddle"),
     ("adapter_model.bin", "adapter of PEFT")],
)  # fmt: skip
def test_graphs_of_other_libraries_that_no_first_bytes_tell_go_by_their_suffix(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"\x08\x04" + bytes(99))
    with pytest.raises(ModelError, match=message) as caught:
        recognise(tmp_path / name)
    assert caught.value.hint


def test_a_frozen_graph_is_told_from_onnx_by_how_it_begins(tmp_path, models):
    (tmp_path / "m.pb").write_bytes(b"\x0a\x0f\x0a\x05input\x12\x06Const*" + bytes(50))
    with pytest.raises(ModelError, match="frozen graph of TensorFlow") as caught:
        recognise(tmp_path / "m.pb")
    assert "--graphdef" in caught.value.hint
    (tmp_path / "m.pb").write_bytes((models / "clean.onnx").read_bytes())
    assert recognise(tmp_path / "m.pb") == "onnx"


def test_missing_files_devices_sockets_and_fifos_are_refused_without_opening_them(tmp_path):
    os.mkfifo(tmp_path / "fifo.pt")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s.pt"))
    for path in (tmp_path / "fifo.pt", tmp_path / "s.pt", "/dev/zero"):
        with pytest.raises(ModelError, match="not a regular file"):
            recognise(type(tmp_path)(path))
    for path in (tmp_path / "none.pt", tmp_path / "a\0b"):
        with pytest.raises(ModelError, match="no such model file"):
            recognise(path)
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    with pytest.raises(ModelError, match="cannot read"):
        recognise(tmp_path / "loop.pt")
    listener.close()


def test_archives_that_hold_no_model_or_too_much_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a/b.jpg", b"x")
    with pytest.raises(ModelError, match="holds no torch model"):
        recognise(tmp_path / "photos.zip")
    torch.save(Net().state_dict(), tmp_path / "w.pt")
    same = rezipped(tmp_path / "w.pt", tmp_path / "twice.pt", lambda name, data: data)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(same, "a") as archive:
        archive.writestr("w/data.pkl", b".")
    with pytest.raises(ModelError, match="two entries of the same name"):
        recognise(same)


def test_a_table_of_contents_that_claims_to_be_huge_is_not_read(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "w.pt")
    data = bytearray((tmp_path / "w.pt").read_bytes())
    at = data.rfind(b"PK\x05\x06")
    data[at + 12 : at + 16] = struct.pack("<L", 1 << 30)
    (tmp_path / "w.pt").write_bytes(bytes(data))
    with pytest.raises(ModelError, match="more entries than a model has"):
        recognise(tmp_path / "w.pt")
