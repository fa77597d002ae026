"""Weights go into the architecture they belong to, all of them or not at all."""

import pytest
import torch
from tiny_networks import ARCH, images, native, network

from singaudit.classifier.convert.architectures import Architecture, known
from singaudit.classifier.convert.fitting import MisfitError, _spoken_of, find, fit
from singaudit.classifier.convert.signature import fitting
from singaudit.errors import ModelError

TIMM = Architecture("timm", ARCH)


def named(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("prefix", "more"),
    [
        ("", {}),
        ("module.", {}),
        ("module._orig_mod.", {"module.n_averaged": torch.tensor(3)}),
        ("model.", {"loss.weight": torch.ones(5)}),
        ("student.backbone.", {}),
    ],
)
def test_any_prefix_is_found_and_what_lies_outside_it_is_named(prefix, more):
    module = network()
    fitted = fit({**named(module.state_dict(), prefix), **more}, TIMM)
    assert (fitted.prefix, fitted.ignored) == (
        prefix,
        tuple(more) if not prefix.startswith("module._") else ("module.n_averaged",),
    )
    x = images((3, 64, 64))
    assert abs(native(fitted.module, x) - native(module, x)).max() < 1e-6


def test_of_two_copies_the_averaged_one_is_taken():
    plain, averaged = network(seed=0), network(seed=1)
    fitted = fit({**named(plain.state_dict(), "model."), **named(averaged.state_dict(), "ema_model.")}, TIMM)
    assert fitted.prefix == "ema_model."
    assert torch.equal(fitted.module.fc.weight, averaged.fc.weight)


@pytest.mark.parametrize("options", [{"classes": 1}, {"classes": 21}, {"classes": 4, "in_chans": 1}])
def test_classes_and_channels_come_from_the_shapes(options):
    fitted = fit(network(**options).state_dict(), TIMM)
    assert (fitted.architecture.classes, fitted.architecture.channels) == (
        options["classes"],
        options.get("in_chans", 3),
    )


def test_a_vision_transformer_at_another_size_gets_that_size():
    import timm

    module = timm.create_model("test_vit", num_classes=3, img_size=96)
    assert fit(module.state_dict(), Architecture("timm", "test_vit")).architecture.size == (96, 96)


def test_weights_with_a_head_fit_an_architecture_that_is_published_without_one():
    import timm

    module = timm.create_model("eva02_tiny_patch14_224", num_classes=6).eval()
    fitted = fit(module.state_dict(), Architecture("timm", "eva02_tiny_patch14_224"))
    assert fitted.architecture.classes == 6
    assert torch.equal(fitted.module.head.weight, module.head.weight)


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (
            lambda s: {k: v for k, v in s.items() if not k.startswith("fc.")},
            r"2 missing \(fc.weight, fc.bias\)",
            "head is missing",
        ),
        (lambda s: {**s, "fc2.weight": torch.ones(2, 2)}, r"1 unexpected \(fc2.weight\)", "--arch"),
        (lambda s: {**s, "conv1.0.weight": torch.ones(7, 3, 3, 3)}, "1 of another shape", "--arch"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_filled_in(change, message, hint):
    with pytest.raises(MisfitError, match=message) as caught:
        fit(change(network().state_dict()), TIMM)
    assert hint in caught.value.hint


def test_half_precision_weights_compute_in_float32():
    fitted = fit(network().half().state_dict(), TIMM)
    assert {p.dtype for p in fitted.module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("library", "name"), [("timm", "test_vit"), ("timm", ARCH), ("torchvision", "shufflenet_v2_x0_5")]
)
def test_an_architecture_is_found_by_the_shapes_of_its_weights_alone(library, name):
    module = Architecture(library, name, classes=7).build()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.running_mean, 0, 0.1)
    assert str(find(named(module.state_dict(), "model.module.")).architecture) == f"{library}:{name}"


def test_weights_of_no_registered_architecture_ask_for_it():
    with pytest.raises(ModelError, match="no registered architecture"):
        find({"a.weight": torch.ones(2, 3), "fc.weight": torch.ones(2, 2)})


def test_architectures_that_share_shapes_but_not_results_are_told_apart_by_the_user():
    """TensorFlow's padding has no weights: both networks fit, and compute different things."""
    module = Architecture("timm", "efficientnet_b0", classes=4).build()
    names = fitting({name: tuple(tensor.shape) for name, tensor in module.state_dict().items()})
    assert {"timm:efficientnet_b0", "timm:tf_efficientnet_b0"} <= set(names)
    message = r"several architectures that compute different things|fit .* architectures"
    with pytest.raises(ModelError, match=message) as caught:
        find(module.state_dict(), "tf_efficientnet_b0-birds.pth")
    assert caught.value.hint.endswith("--arch timm:tf_efficientnet_b0.")


def test_of_networks_that_fit_the_one_that_the_files_name_speaks_of_is_suggested_else_all():
    names = ["timm:efficientnet_b0", "timm:tf_efficientnet_b0"]
    assert _spoken_of("TF_EfficientNet_B0-birds.pth", names) == "timm:tf_efficientnet_b0"
    assert _spoken_of("efficientnet_b0-birds.pth", names) == "timm:efficientnet_b0"
    assert _spoken_of("best.pth", names) == "timm:efficientnet_b0 or --arch timm:tf_efficientnet_b0"


def test_names_of_architectures_are_looked_up_in_both_libraries():
    assert [str(item) for item in known("resnet18")] == ["timm:resnet18", "torchvision:resnet18"]
    assert [str(item) for item in known("torchvision:resnet18")] == ["torchvision:resnet18"]
    assert [str(item) for item in known("vit_b_16")] == ["torchvision:vit_b_16"]
    with pytest.raises(ModelError, match="no architecture named 'resnet81'") as caught:
        known("resnet81")
    assert "resnet18" in caught.value.hint


def test_arguments_of_a_configuration_file_cannot_load_other_weights():
    (item,) = known("test_vit", {"checkpoint_path": "/etc/passwd", "pretrained": True, "img_size": 64, "act_layer": {}})
    assert item.arguments == (("img_size", 64),)


@pytest.mark.slow
def test_the_index_of_shapes_is_that_of_the_installed_libraries():
    from singaudit.classifier.convert.signature import _index, body_signature

    heads, bodies = _index()
    of = {name: signature for signature, names in bodies.items() for name in names}
    assert len(of) > 1400
    for name in ("timm:resnet50", "timm:vit_small_patch16_224", "torchvision:densenet121", "timm:convnext_atto"):
        (item,) = known(name)
        shapes = {key: tuple(tensor.shape) for key, tensor in item.build(empty=True).state_dict().items()}
        assert of[name] in {body_signature(shapes, modules) for modules in heads}
