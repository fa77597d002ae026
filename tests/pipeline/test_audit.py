"""The whole audit on the embedded world: it tells planted models apart, repeats itself, and never passes in doubt."""

import json

import numpy as np
import onnx
import PIL.Image
import pytest

from singaudit import AuditConfig, audit
from singaudit.dataset.sources.table import open_source
from singaudit.errors import ConfigError, DatasetError, LanguageError
from singaudit.report.result.store import canonical_json

VLM = "builtin:shapes"

pytestmark = pytest.mark.usefixtures("kept")


def run(models, name, images="shapes:1500:5", **settings):
    return audit(AuditConfig(model=str(models / f"{name}.onnx"), images=images, vlm=VLM, **settings))


@pytest.fixture(scope="module")
def leaky(models):
    return run(models, "leaky")


@pytest.fixture(scope="module")
def clean(models):
    return run(models, "clean")


def finding(found, group):
    return next(f for f in found.result.findings if f.group == group)


def test_who_prepares_is_told_when_the_model_is_open_and_when_findings_are_made(models):
    told = []
    config = AuditConfig(model=str(models / "leaky.onnx"), images="shapes:1500:5", vlm=VLM)
    audit(
        config, lambda stage, done, total: told.append(stage), opened=lambda: told.append("opened"),
        concluding=lambda: told.append("concluding"),
    )  # fmt: skip
    once = [stage for i, stage in enumerate(told) if stage not in told[:i]]
    assert (told.count("opened"), told.count("concluding")) == (1, 1)
    assert once.index("opened") < once.index("look at the images")
    assert once.index("compare with controls") < once.index("concluding") < once.index("collect pictures")


def test_a_planted_leak_is_found_and_an_absent_one_is_not(leaky, clean):
    assert finding(leaky, "colour").finding in ("strong", "partial")
    assert finding(clean, "colour").finding in ("not detected", "cannot tell")
    leak, none = finding(leaky, "colour"), finding(clean, "colour")
    assert leak.contrast_deg.low > none.contrast_deg.high + 5
    assert leak.carried_share.low > 0.8
    # The leak stands above random subspaces of the same dimension and move, not only above zero.
    assert leak.control.percentile.value == 100
    assert leak.control.effect_size.low > 1


def test_logits_stay_and_the_controls_move_them(leaky):
    check = leaky.result.logit_check
    for equivalent in ("removal", "mean_removal", "swap", "conditional_mean", "steering"):
        assert getattr(check, equivalent) < 1e-4, equivalent
    # A step to 40 degrees is long: what remains is float32 rounding of longer features.
    assert check.steering_calibrated < 1e-2
    assert check.random_equal_norm > 0.01
    assert check.principal_equal_norm > check.random_equal_norm


def test_translator_fidelity_is_held_out_and_above_shuffled_pairs(leaky):
    t = leaky.result.translator
    assert t.r2.low > 0.2
    assert t.cosine.low > t.cosine_shuffled.high
    # Images of one scene count once.
    assert (t.images, t.fitted_on) == (leaky.result.data.units.count, "other folds")


def test_labels_of_the_generated_world_give_the_accuracy(clean):
    assert clean.result.data.labels == "true"
    assert clean.result.data.accuracy.value > 0.9


def test_no_null_space_is_never_a_pass(models):
    found = run(models, "no-null-space", images="shapes:1200:1", gates=("translator.r2.low > -10",))
    assert found.result.geometry.null_dim == 0
    assert {f.finding for f in found.result.findings} == {"not applicable"}
    assert found.result.verdict.status == "inconclusive"
    assert found.exit_code == 4


def test_two_classes_are_audited_with_a_warning(models):
    found = run(models, "two-class", images="shapes:1200:1")
    assert found.result.geometry.null_dim == found.result.geometry.feature_dim - 2
    assert any("of feature space" in w for w in found.result.warnings)


def test_two_runs_are_identical_to_the_byte(models, leaky):
    assert canonical_json(run(models, "leaky", cache="none").result) == canonical_json(leaky.result)


def test_another_batch_size_changes_nothing_that_matters(models, leaky):
    other = run(models, "leaky", batch_size=7, cache="none")
    for a, b in zip(numbers(leaky.result), numbers(other.result), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-3)


def numbers(result):
    """Means that depend smoothly on the features."""
    yield result.scores.image_score_deg.value
    yield result.scores.attribute_score_deg.value
    yield result.translator.r2.value
    for f in result.findings:
        yield f.contrast_deg.value
        yield f.margin_deg.value


def test_order_and_names_of_files_change_nothing(models, tmp_path):
    from singaudit.dataset.sources.table import open_source

    source = open_source("shapes:1100:3")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    for i in range(len(source)):
        image = PIL.Image.fromarray(source.load(i).pixels)
        image.save(tmp_path / "a" / f"{i:04d}.png")
        image.save(tmp_path / "b" / f"{(i * 7919) % 1100:04d}.png")
    one, two = (run(models, "leaky", images=str(tmp_path / d), cache="none").result for d in "ab")
    assert one.data.audit.digest == two.data.audit.digest
    for a, b in zip(numbers(one), numbers(two), strict=True):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5)
    for f, g in zip(one.findings, two.findings, strict=True):
        assert (f.finding, f.contrast_deg.low) == (g.finding, pytest.approx(g.contrast_deg.low, abs=1e-4))


def test_images_that_occur_twice_count_once(models, tmp_path):
    from singaudit.dataset.sources.table import open_source

    source = open_source("shapes:400:3")
    for i in range(len(source)):
        PIL.Image.fromarray(source.load(i).pixels).save(tmp_path / f"{i}.png")
    names = [f"{i}.png" for i in range(len(source))]
    (tmp_path / "once.txt").write_text("\n".join(names))
    for name in names:
        (tmp_path / f"copy-{name}").write_bytes((tmp_path / name).read_bytes())
    (tmp_path / "twice.txt").write_text("\n".join(names + [f"copy-{name}" for name in names]))
    once, twice = (
        run(models, "leaky", images=str(tmp_path / f), cache="none").result for f in ("once.txt", "twice.txt")
    )
    assert (twice.data.audit.found, twice.data.audit.used, twice.data.audit.duplicates) == (800, 400, 400)
    for part in ("scores", "translator", "findings", "concepts", "classes", "controls", "words", "steering", "gallery"):
        assert getattr(once, part) == getattr(twice, part), part
    assert once.data.audit.digest == twice.data.audit.digest


def test_probe_images_fit_the_translator_and_overlap_is_left_out(models):
    found = run(models, "leaky", images="shapes:300:5", probe="shapes:1500:5")
    assert found.result.translator.fitted_on == "probe images"
    assert found.result.data.probe.duplicates == 300
    assert found.result.translator.images == found.result.data.probe_units.count
    assert 1190 <= found.result.translator.images <= 1200


def test_too_few_images_are_inconclusive_not_wrong(models):
    found = run(models, "leaky", images="shapes:300:5", gates=("finding[colour] not in (strong, partial)",))
    assert {f.finding for f in found.result.findings} == {"cannot tell"}
    assert found.exit_code == 4
    tiny = run(models, "leaky", images="shapes:30:5")
    assert tiny.result.scores is None
    assert tiny.exit_code == 4
    assert any("too few" in reason for reason in tiny.result.verdict.reasons)


def test_without_images_only_geometry_is_audited(models):
    found = audit(AuditConfig(model=str(models / "leaky.onnx"), gates=("geometry.null_dim < 100",)))
    assert found.result.gates[0].status == "pass"
    assert found.exit_code == 4
    assert "--images" in found.result.verdict.reasons[0]
    assert found.per_image == {}


def test_guessed_preprocessing_never_ends_in_a_pass(models, tmp_path):
    model = onnx.load(models / "leaky.onnx")
    kept = [p for p in model.metadata_props if p.key != "singaudit.preprocess"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "bare.onnx")
    config = {
        "model": str(tmp_path / "bare.onnx"),
        "images": "shapes:1200:5",
        "vlm": VLM,
        "gates": ("scores.ratio > 0",),
    }
    found = audit(AuditConfig(**config))
    assert found.result.model.preprocessing.guessed
    assert found.exit_code == 4
    stated = audit(AuditConfig(**config, preprocess=clean_settings(models)))
    assert not stated.result.model.preprocessing.guessed
    assert stated.exit_code == 0


def clean_settings(models):
    props = {p.key: p.value for p in onnx.load(models / "leaky.onnx").metadata_props}
    return props["singaudit.preprocess"]


def test_failed_gate_outranks_doubt_and_doubt_outranks_a_pass(models):
    few = "shapes:300:5"
    assert run(models, "leaky", images=few, gates=("geometry.null_dim < 1",)).exit_code == 1
    assert run(models, "leaky", images=few, gates=("geometry.null_dim > 1",)).exit_code == 4


def test_a_shuffled_translator_cannot_tell(models, monkeypatch):
    from singaudit.language.translators import fit as translator

    fit = translator.fit

    def shuffled(features, embeddings, sha256, space, probe=None):
        order = np.random.default_rng(0).permutation(len(embeddings))
        return fit(features, np.asarray(embeddings)[order], sha256, space, probe)

    monkeypatch.setattr("singaudit.pipeline.audit.fit", shuffled)
    found = run(models, "leaky", cache="none")
    assert {f.finding for f in found.result.findings} == {"cannot tell"}
    assert found.exit_code == 4


def test_single_concepts_are_judged_present_or_absent(models, tmp_path):
    (tmp_path / "c.txt").write_text("red\nblue\nsmall\na zebra\n")
    found = run(
        models,
        "leaky",
        images="shapes:1200:5",
        concepts=str(tmp_path / "c.txt"),
        gates=("finding[red] not in (strong, partial)",),
    )
    kinds = {f.group: f.finding for f in found.result.findings}
    assert kinds["red"] in ("strong", "partial")
    assert kinds["blue"] in ("strong", "partial")
    # The logits see the size; nothing here shows a zebra.
    assert kinds["small"] not in ("strong", "partial")
    assert kinds["a zebra"] == "cannot tell"
    assert found.exit_code == 1


def test_the_class_of_the_clean_model_passes_the_ready_policy(clean):
    # Its class is decodable from the null space, but the logits see it as well.
    assert finding(clean, "class").finding == "redundant"


def test_every_control_is_in_the_result_with_its_intervals(leaky):
    names = [c.name for c in leaky.result.controls]
    assert len(names) == 4
    assert "shuffled translator" in names
    assert all(c.draws >= 99 for c in leaky.result.controls)
    for part in (leaky.result.controls, *(f.controls for f in leaky.result.findings)):
        for control in part:
            for score in control.scores:
                assert score.percentile.low <= score.percentile.value <= score.percentile.high
                assert score.percentile.n == control.draws


def test_steering_is_reported_toward_every_concept_with_the_share_that_reaches_it(leaky):
    steering = leaky.result.steering
    assert steering.angle_deg == 40
    assert [c.name for c in steering.concepts] == [c.name for c in leaky.result.concepts]
    assert 0 <= steering.other_class.reached.value <= 1
    for entry in steering.concepts:
        assert (entry.absolute_deg is None) == (entry.reached.value == 0)
    # Colours lie in this model's null space: one step brings images closer to them.
    assert np.mean([c.one_norm_attribute_score_deg.value for c in steering.concepts if c.group == "colour"]) > 5


def test_a_finding_holds_what_led_to_it(leaky):
    found = finding(leaky, "colour").model_dump()
    assert found["readable"] is True
    assert found["stable"] is True
    assert {"value", "low", "high", "n", "chance"} <= set(found["null_follow"])
    assert {"features", "principal", "null"} <= set(found["probe"])


def test_concept_list_and_hostile_names(models, tmp_path):
    concepts = tmp_path / "c.txt"
    concepts.write_text("red\n<script>alert(1)</script>\n=cmd()\n\nblue\n")
    found = run(models, "leaky", images="shapes:1100:5", concepts=str(concepts))
    names = [c.name for c in found.result.concepts if c.group is None]
    assert names == ["red", "<script>alert(1)</script>", "=cmd()", "blue"]
    json.loads(canonical_json(found.result))


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"classes": ("dog", "cat")}, ConfigError, "8 class names"),
        ({"images": "/nowhere"}, DatasetError, "there is no"),
        ({"vlm": "/nowhere/model"}, LanguageError, "or a folder"),
        ({"concepts": "/nowhere.toml"}, LanguageError, "no file"),
        ({"gates": ("scores.attribute < 3",)}, ConfigError, "attribute_score_deg"),
        ({"preprocess": "size=64,sise=3"}, ConfigError, "sise"),
    ],
)
def test_wrong_settings_are_one_error(models, settings, error, match):
    base = {"model": str(models / "leaky.onnx"), "images": "shapes:1100", "vlm": VLM}
    with pytest.raises(error) as info:
        audit(AuditConfig(**{**base, **settings}))
    assert match in f"{info.value.message} {info.value.hint}"


def test_a_thousand_long_names_do_not_break_the_command_line(models, tmp_path):
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, 4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 1000),
    )
    path = tmp_path / "thousand.onnx"
    torch.onnx.export(
        net, torch.rand(1, 3, 64, 64), str(path), dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
    )
    names = tuple(f"class {i}, a name with a comma <b>" for i in range(1000))
    found = audit(AuditConfig(model=str(path), classes=names, classes_from="names.txt", images="shapes:60", vlm=VLM))
    assert "--classes names.txt" in found.result.reproduce.command
    assert len(found.result.model.class_names) == 1000
    whole = audit(AuditConfig(model=str(path), classes=names, images="shapes:60", vlm=VLM, labels="none"))
    assert whole.exit_code == 4


def single_logit(path):
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, 4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 1),
        torch.nn.Sigmoid(),
    )
    torch.onnx.export(
        net, torch.rand(1, 3, 64, 64), str(path), dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
    )
    return str(path)


def test_one_logit_with_one_name_and_a_plain_word_list_has_single_concepts_only(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("red\nblue\n")
    found = audit(
        AuditConfig(
            model=single_logit(tmp_path / "one.onnx"),
            classes=("round",),
            images="shapes:200",
            vlm=VLM,
            concepts=str(words),
        )
    )
    assert [(f.group, f.kind, f.finding) for f in found.result.findings] == [
        ("red", "concept", "cannot tell"),
        ("blue", "concept", "cannot tell"),
    ]
    assert [c.name for c in found.result.concepts] == ["red", "blue"]
    assert found.exit_code == 4


def test_features_that_are_no_numbers_are_refused(models, monkeypatch):
    from singaudit.classifier.sandbox.onnx_classifier import OnnxClassifier
    from singaudit.errors import ModelError

    forward = OnnxClassifier.forward

    def broken(self, inputs):
        features, logits = forward(self, inputs)
        features = features.copy()
        features[0, 0] = np.nan
        return features, logits

    monkeypatch.setattr(OnnxClassifier, "forward", broken)
    with pytest.raises(ModelError, match="finite"):
        run(models, "leaky", images="shapes:100", cache="none")


def test_a_second_audit_never_opens_the_language_model_and_finds_the_same(models, tmp_path, monkeypatch):
    settings = {"images": "shapes:300:5", "probe": "shapes:200:6"}
    plain = canonical_json(run(models, "leaky", cache="none", **settings).result)
    first = canonical_json(run(models, "leaky", cache=str(tmp_path), **settings).result)
    assert first == plain
    monkeypatch.setattr("singaudit.pipeline.observe.open_encoder", lambda *a, **k: pytest.fail("the model was opened"))
    assert canonical_json(run(models, "leaky", cache=str(tmp_path), **settings).result) == plain
    # Another classifier computes its own features; the embeddings are the images' and stay.
    other = run(models, "clean", cache=str(tmp_path), **settings)
    assert canonical_json(other.result) == canonical_json(run(models, "clean", cache=str(tmp_path), **settings).result)


def test_an_image_with_two_labels_is_told(models, tmp_path):
    source = open_source("shapes:70:3")
    for i in range(70):
        folder = tmp_path / source.labels[i]
        folder.mkdir(exist_ok=True)
        PIL.Image.fromarray(source.load(i).pixels).save(folder / f"{i}.png")
    first, second = sorted(p for p in tmp_path.iterdir())[:2]
    (second / "again.png").write_bytes(next(first.glob("*.png")).read_bytes())
    (first / "the same.png").write_bytes(next(first.glob("*.png")).read_bytes())
    config = AuditConfig(
        model=str(models / "leaky.onnx"), images=str(tmp_path), vlm="builtin:shapes", cache="none", generate=0
    )
    found = audit(config).result
    assert found.data.audit.duplicates == 2
    (said,) = [w for w in found.warnings if "another label" in w]
    assert said.startswith("1 images")
    assert "again.png" in said
