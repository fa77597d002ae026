"""Tensors are read from checkpoints without running anything; what wraps them is understood and said."""

import argparse
import os
import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from tiny_networks import Net, network, rezipped

from singaudit.classifier.convert.state_dict import NeedsCodeError, read_weights
from singaudit.errors import ModelError

STATE = dict(Net().state_dict())


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("document", "wrapper", "averaged", "beside"),
    [
        (STATE, "", False, ()),
        ({"state_dict": STATE, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}, "state_dict", False, ()),
        ({"model_state_dict": STATE, "loss": 0.5}, "model_state_dict", False, ()),
        ({"model": {"state_dict": STATE}, "best": 1.0}, "model.state_dict", False, ()),
        ({"state_dict": STATE, "state_dict_ema": STATE}, "state_dict_ema", True, ("state_dict",)),
        ({"model": STATE, "model_ema": STATE, "args": argparse.Namespace(lr=1)}, "model_ema", True, ("model",)),
        ({"somebody's own": STATE}, "somebody's own", False, ()),
    ],
)
def test_wrappers_are_understood_and_averaged_weights_come_first(tmp_path, document, wrapper, averaged, beside, legacy):
    torch.save(document, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    found = read_weights([tmp_path / "w.pt"])
    assert (found.wrapper, found.averaged, found.beside) == (wrapper, averaged, beside)
    assert found.tensors.keys() == STATE.keys()
    assert all(torch.equal(found.tensors[name], STATE[name]) for name in STATE)


def test_safetensors_and_shards_are_read(tmp_path):
    names = sorted(STATE)
    save_file({n: STATE[n] for n in names[:2]}, tmp_path / "a.safetensors")
    save_file({n: STATE[n] for n in names[2:]}, tmp_path / "b.safetensors")
    found = read_weights([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert found.kind == "2 parts, safetensors"
    assert found.tensors.keys() == STATE.keys()
    with pytest.raises(ModelError, match="repeats the weight"):
        read_weights([tmp_path / "a.safetensors", tmp_path / "a.safetensors"])


def test_settings_beside_the_weights_are_not_imported(tmp_path, monkeypatch):
    """Lightning stores settings of classes that need not be installed; they are left out unseen."""
    import sys
    import types

    module = types.ModuleType("omegaconf")

    class DictConfig:
        def __init__(self):
            self.content = {"lr": 0.1}

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf", "DictConfig"
    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf", module)
    document = {"pytorch-lightning_version": "2.5", "state_dict": STATE, "hyper_parameters": DictConfig()}
    torch.save(document, tmp_path / "l.ckpt")
    monkeypatch.delitem(sys.modules, "omegaconf")
    found = read_weights([tmp_path / "l.ckpt"])
    assert found.kind == "Lightning checkpoint"
    assert found.tensors.keys() == STATE.keys()
    assert "omegaconf" not in sys.modules


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("document", [Evil(), {"state_dict": STATE, "note": Evil()}, {**STATE, "conv.weight": Evil()}])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path, monkeypatch, document, legacy):
    monkeypatch.chdir(tmp_path)
    torch.save(document, "evil.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(NeedsCodeError, match=r"pickled program.*mkdir") as caught:
        read_weights([tmp_path / "evil.pt"])
    assert "--allow-code" in caught.value.hint
    assert not (tmp_path / "ran").exists()


def test_whole_modules_and_plain_pickles_are_refused_as_programs(tmp_path):
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(NeedsCodeError, match="timm"):
        read_weights([tmp_path / "whole.pt"])
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(ModelError, match="program"):
        read_weights([tmp_path / "plain.pkl"])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1, 2], "holds a list"),
        (torch.ones(3), "holds a Tensor"),
        ({"epoch": 3, "loss": 1.0}, "found the keys 'epoch', 'loss'"),
        ({"a": {"x": 1}, "b": {"y": 2}}, "holds no weights"),
        ({}, "holds no weights"),
        ({"w": torch.ones(1).expand(10**6, 10**6)}, "more than its bytes hold"),
        ({"w": torch.eye(3).to_sparse()}, "quantised, sparse or complex"),
    ],
)
def test_what_holds_no_plain_weights_is_refused(tmp_path, document, message):
    torch.save(document, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message):
        read_weights([tmp_path / "w.pt"])


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_cut_short_files_are_refused(tmp_path, kind, share):
    path = tmp_path / "w"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: max(9, int(len(data) * share))])
    with pytest.raises(ModelError, match=r"damaged|cut short|header"):
        read_weights([path])


def test_an_archive_that_lies_about_a_tensors_size_is_refused(tmp_path):
    torch.save({"w": torch.arange(16.0), "b": torch.arange(4.0)}, tmp_path / "w.pt")

    def larger(name, data):
        return data.replace(b"K\x10tq", b"J\x00\x00\x10\x00tq", 1) if name.endswith("data.pkl") else data

    rezipped(tmp_path / "w.pt", tmp_path / "lie.pt", larger)
    with pytest.raises(ModelError, match="damaged"):
        read_weights([tmp_path / "lie.pt"])


def test_zip_bombs_are_refused_before_anything_is_unpacked(tmp_path):
    torch.save(STATE, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("w/data/0", bytes(80 << 20))
    with pytest.raises(ModelError, match="its entries claim"):
        read_weights([tmp_path / "bomb.pt"])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack("<Q", 1 << 40) + b"{}", "claims a header of"),
        (struct.pack("<Q", 2) + b"[]", "header"),
        (struct.pack("<Q", 12) + b'{"w":{"a":1}', "header"),
        (
            struct.pack("<Q", 59) + b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,999999]}}',
            "damaged or cut short",
        ),
        (struct.pack("<Q", 1 << 20) + b"{" * (1 << 20), "header"),
        (struct.pack("<Q", 58) + b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}0000', "header"),
        (struct.pack("<Q", 58) + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}0000', "header"),
    ],
)
def test_lying_safetensors_headers_are_refused(tmp_path, header, message):
    (tmp_path / "w.safetensors").write_bytes(header)
    with pytest.raises(ModelError, match=message):
        read_weights([tmp_path / "w.safetensors"])
