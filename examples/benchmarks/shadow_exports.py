"""Shadow copies of what TensorFlow and Paddle export, against those frameworks' own values and gradients.

    python examples/benchmarks/shadow_exports.py make tensorflow DIR   # where tensorflow and tf2onnx are installed
    python examples/benchmarks/shadow_exports.py make paddle DIR       # where paddlepaddle and paddle2onnx are
    python examples/benchmarks/shadow_exports.py compare DIR           # where singaudit is

``make`` writes NAME.onnx and NAME.npz: images, values of the native model, random weights on them, and the gradient of
the weighted sum (of log probabilities, where the model ends in a softmax). The models named tiny_... are the ones in
``tests/classifier/exports``. Weights are random, with batch statistics that do something.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
OPSET = 17


def statistics(kept: Any, generator: np.random.Generator) -> tuple[Any, Any]:
    """Running mean and variance that a batch normalisation would notice."""
    shape = kept.shape
    return generator.normal(0, 0.1, shape).astype("f"), generator.uniform(0.8, 1.3, shape).astype("f")


def make_tensorflow(folder: Path) -> None:
    """Keras models, channels last, through tf2onnx."""
    import tensorflow as tf
    import tf2onnx

    def tiny() -> Any:
        layers = tf.keras.layers
        return tf.keras.Sequential([
            layers.Input((24, 24, 3)), layers.Rescaling(1 / 127.5, -1.0),
            layers.Conv2D(8, 3, 2, "same", use_bias=False), layers.BatchNormalization(), layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, 2, "same"), layers.Activation("swish"), layers.Conv2D(16, 1),
            layers.MaxPooling2D(3, 2, "same"), layers.GlobalAveragePooling2D(), layers.Dense(5, "softmax"),
        ])  # fmt: skip

    applications = tf.keras.applications
    models: dict[str, tuple[Callable[[], Any], int]] = {
        "tiny_tensorflow": (tiny, 24),
        "tensorflow_mobilenetv2": (lambda: applications.MobileNetV2((96, 96, 3), 0.35, weights=None), 96),
        "tensorflow_resnet50v2": (lambda: applications.ResNet50V2(weights=None, input_shape=(64, 64, 3)), 64),
        "tensorflow_efficientnetb0": (lambda: applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3)), 64),
        "tensorflow_densenet121": (lambda: applications.DenseNet121(weights=None, input_shape=(64, 64, 3)), 64),
        "tensorflow_convnexttiny": (lambda: applications.ConvNeXtTiny(weights=None, input_shape=(64, 64, 3)), 64),
    }
    for name, (build, size) in models.items():
        tf.random.set_seed(0)
        generator = np.random.default_rng(0)
        model = build()
        for layer in model.layers:
            if "BatchNormalization" in type(layer).__name__:
                kept = layer.get_weights()
                layer.set_weights([*kept[:-2], *statistics(kept[-1], generator)])
        x = generator.uniform(0, 255, (3, size, size, 3)).astype("f")
        pixels = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            y = model(pixels, training=False)
            w = generator.standard_normal(y.shape).astype("f")
            total = tf.reduce_sum(tf.math.log(y + 1e-12) * w)
        signature = [tf.TensorSpec((None, size, size, 3), tf.float32, name="image")]
        with tempfile.TemporaryDirectory() as saved:
            model.export(saved, verbose=False, input_signature=signature)
            graph, inputs, outputs = tf2onnx.tf_loader.from_saved_model(saved, None, None)
            proto, _ = tf2onnx.convert._convert_common(
                graph, name=name, opset=OPSET, input_names=inputs, output_names=outputs
            )
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
        gradient = tape.gradient(total, pixels).numpy()
        np.savez_compressed(folder / f"{name}.npz", x=x, y=y.numpy(), w=w, gradient=gradient, softmax=True)


def make_paddle(folder: Path) -> None:
    """Paddle vision models through paddle2onnx."""
    import paddle

    nn, models = paddle.nn, paddle.vision.models

    def tiny() -> Any:
        return nn.Sequential(
            nn.Conv2D(3, 8, 3, 2, 1, bias_attr=False), nn.BatchNorm2D(8), nn.Hardswish(), nn.Conv2D(8, 8, 3, 1, 1,
            groups=8), nn.ReLU6(), nn.MaxPool2D(3, 2, 1, ceil_mode=True), nn.Conv2D(8, 16, 1), nn.Silu(),
            nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(16, 5),
        )  # fmt: skip

    for name, build, size in (
        ("tiny_paddle", tiny, 24),
        ("paddle_mobilenetv2", lambda: models.mobilenet_v2(scale=0.35), 64),
        ("paddle_mobilenetv3", models.mobilenet_v3_small, 64),
        ("paddle_resnet18", models.resnet18, 64),
        ("paddle_shufflenetv2", models.shufflenet_v2_x0_25, 64),
    ):
        paddle.seed(0)
        generator = np.random.default_rng(0)
        model = build()
        model.eval()
        for layer in model.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                mean, variance = statistics(layer._mean, generator)
                layer._mean.set_value(paddle.to_tensor(mean))
                layer._variance.set_value(paddle.to_tensor(variance))
        spec = paddle.static.InputSpec([None, 3, size, size], "float32", name="image")
        paddle.onnx.export(model, str(folder / name), input_spec=[spec], opset_version=OPSET)
        x = generator.standard_normal((3, 3, size, size)).astype("f")
        pixels = paddle.to_tensor(x, stop_gradient=False)
        y = model(pixels)
        w = generator.standard_normal(y.shape).astype("f")
        (y * paddle.to_tensor(w)).sum().backward()
        np.savez_compressed(folder / f"{name}.npz", x=x, y=y.numpy(), w=w, gradient=pixels.grad.numpy(), softmax=False)


def compare(folder: Path) -> list[dict[str, Any]]:
    """For each model: difference of values (share of their range), cosine of gradients, certificate, head."""
    import torch

    from singaudit.classifier.options import ModelOptions
    from singaudit.classifier.sandbox.onnx_classifier import open_onnx
    from singaudit.classifier.shadow.certificate import certify
    from singaudit.classifier.shadow.module import shadow_copy
    from singaudit.errors import SingauditError

    rows = []
    for path in sorted(folder.glob("*.npz")):
        native = np.load(path, allow_pickle=False)
        row: dict[str, Any] = {"model": path.stem}
        try:
            leaf = torch.from_numpy(native["x"]).requires_grad_()
            value = shadow_copy(path.with_suffix(".onnx"))(leaf)[0]
            weighed = (torch.log(value + 1e-12) if native["softmax"] else value) * torch.from_numpy(native["w"])
            weighed.sum().backward()
            a, b = leaf.grad.double().numpy().ravel(), native["gradient"].astype(np.float64).ravel()
            row["difference"] = float(np.abs(value.detach().numpy() - native["y"]).max() / np.ptp(native["y"]))
            row["gradient_cosine"] = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            found = certify(path.with_suffix(".onnx"), inputs=native["x"])
            row["certificate"] = {
                "status": found.status,
                "gradient_cosine": found.gradient_cosine,
                "reason": found.reason,
            }
            head = open_onnx(path.with_suffix(".onnx"), ModelOptions(preprocess="scale=1,mean=0")).head
            row["head"] = {"kind": head.kind, "classes": len(head.weight), "feature_dim": head.weight.shape[1]}
        except SingauditError as error:
            row["failed"] = error.message
        rows.append(row)
    return rows


def main() -> None:
    """Make exports or compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("make", "compare"))
    parser.add_argument("rest", nargs="+", help="make: tensorflow|paddle DIR; compare: DIR")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(arguments.rest[-1])
    if arguments.what == "make":
        folder.mkdir(parents=True, exist_ok=True)
        {"tensorflow": make_tensorflow, "paddle": make_paddle}[arguments.rest[0]](folder)
        return
    rows = compare(folder)
    (RESULTS / "shadow_exports.json").write_text(json.dumps(rows, indent=1) + "\n")
    json.dump(rows, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
