"""Decoding through a tiny random unCLIP pipeline around the embedded image encoder, in the hub's format."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner
from hub_server import serve
from tiny_unclip import WIDTH, save_pipeline

from singaudit.cli.main import main
from singaudit.cli.options import DECODER
from singaudit.dataset.sources.table import open_source
from singaudit.errors import LanguageError
from singaudit.language.encoders.table import open_encoder
from singaudit.pictures.decoding.decode import Decoder, same_length
from singaudit.pictures.decoding.unclip import KARLO, located, open_decoder, open_tower
from singaudit.torchvision_import import import_torchvision

import_torchvision()
pytest.importorskip("diffusers")
FEW = {"steps": 2, "fine_steps": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("unclip")
    save_pipeline(path)
    return path


@pytest.fixture(scope="module")
def decoder(folder):
    return open_decoder(located(str(folder)))


def test_the_equivalent_gets_the_originals_length():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 8)), rng.normal(size=(5, 8)) * 30
    found = same_length(a, b)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(a, axis=1))
    np.testing.assert_allclose(np.sum(found * b, axis=1), np.linalg.norm(found, axis=1) * np.linalg.norm(b, axis=1))
    assert (same_length(a, np.zeros_like(a)) == 0).all()


def test_pictures_depend_on_the_embedding_and_the_seed_alone(decoder):
    z = np.random.default_rng(1).normal(size=(2, WIDTH)) * 10
    together = decoder(z, 3, **FEW)
    assert together.shape == (2, 16, 16, 3)
    assert together.dtype == np.uint8
    np.testing.assert_array_equal(together[1], decoder(z[1:], 3, **FEW)[0])
    np.testing.assert_array_equal(decoder(z[[0, 0]], 3, **FEW)[0], decoder(z[[0, 0]], 3, **FEW)[1])
    assert (together[0] != together[1]).any()
    assert (together != decoder(z, 4, **FEW)).any()


def test_both_sides_are_decoded_with_the_same_noise_and_length(decoder):
    rng = np.random.default_rng(2)
    a = rng.normal(size=(2, WIDTH))
    before, after = decoder.pairs(a, 7 * a, np.array([12.0, 12.0]), (0, 1), **FEW)
    assert before.shape == (2, 2, 16, 16, 3)
    np.testing.assert_array_equal(before, after)
    assert (before[0] != before[1]).any()
    changed = decoder.pairs(a, rng.normal(size=a.shape), np.array([12.0, 12.0]), (0, 1), **FEW)[1]
    assert (changed != after).any()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_an_opened_decoder_holds_no_file_that_others_can_cut(folder, decoder):
    assert str(folder) not in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")


def test_embeddings_of_another_width_are_refused(decoder):
    with pytest.raises(LanguageError, match=f"embeddings of {WIDTH} numbers"):
        decoder(np.zeros((1, 7)), 0)


def test_the_pipelines_own_encoder_embeds_images_as_the_language_model_does(folder):
    tower, encoder = open_tower(located(str(folder))), open_encoder("builtin:shapes")
    pixels = [open_source("shapes:3").load(i).pixels for i in range(3)]
    own = tower(pixels)
    theirs = encoder.encode_images(np.stack([encoder.prepare(p) for p in pixels]))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    assert (np.sum(own * theirs, axis=1) > 0.999).all()


def pickled(folder):
    for weights in (folder / "decoder").glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))


def linked_out(folder):
    weights = next((folder / "text_proj").glob("*.safetensors"))
    moved = folder.parent / "outside.safetensors"
    weights.rename(moved)
    weights.symlink_to(moved)


def lying_header(folder):
    next((folder / "decoder").glob("*.safetensors")).write_bytes(b"\xff" * 8 + b"{}")


def in_pieces(folder):
    (folder / "decoder" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        '{"weight_map": {"x": "../../../etc/passwd"}}'
    )


def lacking(folder):
    from safetensors.torch import load_file, save_file

    path = next((folder / "decoder").glob("*.safetensors"))
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path)


def stating(key, value):
    def spoil(folder):
        path = folder / "decoder" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    return spoil


def without(part):
    return lambda folder: shutil.rmtree(folder / part)


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (pickled, "pickled weights are never loaded"),
        (linked_out, "link out of the model's folder"),
        (stating("layers_per_block", 2**63), "layers_per_block"),
        (stating("layers_per_block", 10**6), "layers_per_block"),
        (stating("cross_attention_dim", 2**24), "describes a network"),
        (lying_header, "header"),
        (in_pieces, "in pieces"),
        (lacking, "lack 1 tensors"),
        (without("image_encoder"), "'image_encoder' is missing"),
        (without("decoder"), "'decoder' is missing"),
    ],
)
def test_a_pipeline_that_is_not_whole_or_not_safe_is_refused(folder, tmp_path, spoil, match):
    shutil.copytree(folder, tmp_path / "spoilt")
    spoil(tmp_path / "spoilt")
    with pytest.raises(LanguageError, match=match):
        open_decoder(located(str(tmp_path / "spoilt")))


@pytest.mark.parametrize("fate", ["written to", "replaced", "added", "gone", "replaced and put back"])
def test_a_part_that_changed_since_it_was_hashed_is_never_opened(folder, tmp_path, fate):
    shutil.copytree(folder, tmp_path / "own")
    pipeline = located(str(tmp_path / "own"))
    open_tower(pipeline)
    path = tmp_path / "own" / "image_encoder" / "config.json"
    if fate == "written to":
        path.write_text(path.read_text() + " ")
    elif fate.startswith("replaced"):
        shutil.copyfile(path, tmp_path / "other.json")
        path.rename(tmp_path / "kept.json")
        (tmp_path / "other.json").rename(path)
        if fate == "replaced and put back":
            (tmp_path / "kept.json").rename(path)
    elif fate == "added":
        (path.parent / "generation_config.json").write_text("{}")
    else:
        path.unlink()
    with pytest.raises(LanguageError, match="changed since it was hashed"):
        open_tower(pipeline)


def test_the_hash_of_a_decoder_is_that_of_all_it_reads(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "own")
    before = located(str(tmp_path / "own")).sha256
    assert before == located(str(folder)).sha256
    (tmp_path / "own" / "decoder" / "notes.md").write_text("no part of it")
    assert located(str(tmp_path / "own")).sha256 == before
    path = tmp_path / "own" / "decoder_scheduler" / "scheduler_config.json"
    path.write_text(path.read_text() + "\n")
    assert located(str(tmp_path / "own")).sha256 != before


def run(folder, out, *more):
    words = [
        "run", "builtin:leaky", "--images", "shapes:360", "--vlm", "builtin:shapes", "--generate", "1", "--report",
        "html,json", "--decode", folder, "-o", out, "--progress", "none", "--isolated", *more,
    ]  # fmt: skip
    return CliRunner().invoke(main, [str(word) for word in words])


def few_steps(patch):
    """Two steps instead of 25 and 7: what random weights draw is noise either way."""
    patch.setattr(Decoder.__call__, "__kwdefaults__", FEW)


@pytest.fixture(scope="module")
def audited(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("audit") / "out"
    with pytest.MonkeyPatch.context() as patch:
        few_steps(patch)
        found = run(folder, out)
    assert found.exit_code in (0, 4), found.output
    return out, json.loads((out / "result.json").read_text())


def test_an_audit_draws_features_and_measures_what_it_drew(audited, folder):
    out, result = audited
    drawn = [p for p in result["pictures"] if p["kind"] == "decoded"]
    assert len(drawn) == 12
    assert len({p["image"] for p in drawn}) == 4
    assert {p["noise"] for p in drawn} == {0, 1, 2}
    for p in drawn:
        assert p["success"] is None
        assert not p["independent_witness"]
        assert p["image_score_deg"] >= 0
        assert p["control"]["image_score_deg"] > 0
        before, after = (np.asarray(PIL.Image.open(out / p[name])) for name in ("original_file", "file"))
        assert before.shape == after.shape == (16, 16, 3)
    decoding = result["decoding"]
    assert (decoding["images"], decoding["pictures"], decoding["revision"]) == (4, 12, None)
    assert decoding["sha256"] == located(str(folder)).sha256
    assert decoding["top1_kept"]["n"] == 12
    assert "do not keep its logits" in decoding["sentence"]
    assert "drawn from its features" in (out / "report.html").read_text()
    assert f"--decode {folder}" in result["reproduce"]["command"]


def test_numbers_of_decoded_pictures_are_those_of_the_saved_files(audited):
    out, result = audited
    encoder = open_encoder("builtin:shapes")
    p = next(p for p in result["pictures"] if p["kind"] == "decoded")
    pixels = [np.asarray(PIL.Image.open(out / p[name]).convert("RGB")) for name in ("original_file", "file")]
    a, b = encoder.encode_images(np.stack([encoder.prepare(x) for x in pixels])).astype(np.float64)
    assert p["image_score_deg"] == pytest.approx(np.degrees(np.arccos(np.clip(a @ b, -1, 1))), abs=1e-3)


def test_the_same_audit_draws_the_same_and_one_without_removes_them(audited, folder, tmp_path, monkeypatch):
    few_steps(monkeypatch)
    shutil.copytree(audited[0], tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "pictures").iterdir()}
    assert sum(name.endswith("-decoded.png") for name in before) == 12
    assert run(folder, tmp_path / "out").exit_code in (0, 4)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "pictures").iterdir()} == before
    words = ["run", "builtin:leaky", "--images", "shapes:60", "--vlm", "builtin:shapes", "--generate", "0"]
    plain = CliRunner().invoke(main, [*words, "-o", str(tmp_path / "out"), "--report", "json", "--isolated"])
    assert plain.exit_code in (0, 4), plain.output
    assert not (tmp_path / "out" / "pictures").exists()


def test_a_decoder_of_another_image_space_is_refused_before_anything_is_measured(tmp_path):
    save_pipeline(tmp_path / "other", seed=5)
    found = run(tmp_path / "other", tmp_path / "out")
    assert found.exit_code == 2, found.output
    assert "embeds the same 8 images otherwise" in found.output
    assert "try:" in found.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["run", "builtin:leaky", "--decode", "x/y"], "expected --images"),
        (["run", "builtin:leaky", "--images", "shapes:60", "--decode", "not a name"], "ORG/NAME"),
        (["run", "builtin:leaky", "--images", "shapes:60", "--decode", "/nowhere/at/all"], "ORG/NAME"),
    ],
)
def test_what_cannot_be_decoded_exits_2(tmp_path, words, match):
    found = CliRunner().invoke(main, [*words, "--vlm", "builtin:shapes", "--isolated", "-o", str(tmp_path / "out")])
    assert found.exit_code == 2
    assert match in found.output
    assert not (tmp_path / "out").exists()


def test_karlo_is_taken_where_no_decoder_is_named(tmp_path):
    assert DECODER == KARLO
    words = ["run", "builtin:leaky", "--decode", "--vlm", "builtin:shapes", "--isolated", "-o", str(tmp_path / "out")]
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 2
    assert "expected --images" in found.output
    audited = CliRunner().invoke(main, ["run", "--help"]).output
    assert audited.index("Pictures:") < audited.index("--decode") < audited.index("Gates:")


def test_without_the_extra_the_line_to_type_is_shown(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "diffusers" else real(name, *a))
    with pytest.raises(LanguageError, match="diffusers") as caught:
        located(str(tmp_path))
    assert caught.value.hint == "Run pip install 'singaudit[unclip]'"


def test_of_a_repository_only_what_is_read_is_downloaded(folder, tmp_path):
    import subprocess
    import sys

    code = (
        "from singaudit.pictures.decoding.unclip import located, open_decoder\n"
        "pipeline = located('org/unclip'); print(pipeline.revision, open_decoder(pipeline).width)"
    )
    with serve() as hub:
        hub.add(
            "org/unclip",
            folder,
            **{
                "prior/diffusion_pytorch_model.safetensors": b"x" * 1000,
                "decoder/diffusion_pytorch_model.bin": b"pickled",
            },
        )
        found = subprocess.run(
            [sys.executable, "-c", code],
            env=hub.environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        fetched = hub.fetched()
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.split()[1] == str(WIDTH)
    assert len(found.stdout.split()[0]) == 40
    assert not [name for name in fetched if name.endswith(".bin") or name.startswith("prior")]
