"""What every opened classifier offers the stages after it, whatever its file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from singaudit.classifier.tap import Tap

Activation = Literal["softmax", "sigmoid", "none"]
Precision = Literal["fp32", "fp16", "int8"]
"""Precision classes of models, which decide tolerances."""
RuntimeMode = Literal["optimised", "unoptimised"]
"""ONNX Runtime with all its graph optimisations, as it runs by default, or with none."""
StoredDtype = Literal["float64", "float32", "float16", "bfloat16", "int8", "int4", "int2"]


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded RGB image becomes the classifier's input.

    The order is: resize and crop, reorder channels, multiply by ``scale``, subtract ``mean``, divide by ``std``.
    """

    height: int
    """Input height in pixels."""
    width: int
    """Input width in pixels."""
    mode: Literal["crop", "squash", "pad"] = "crop"
    """How an image is resized before its centre is cut out: crop: to cover the window of (height, width) / ``crop``;
    squash: to exactly that window; pad: to fit inside it."""
    crop: float = 1.0
    """Input side over resized side; above 1 the resized image is smaller than the input and is surrounded."""
    fill: tuple[int, int, int] = (0, 0, 0)
    """RGB, 0-255, of what surrounds an image that does not fill the input."""
    offset: Literal["round", "floor"] = "round"
    """Where a crop starts that cannot be in the middle: half pixels rounded to even, and toward the image where it is
    surrounded, as torchvision and timm do, or down, as transformers does."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    """Resampling filter, with Pillow's definition (antialiased when shrinking)."""
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    """Channel order; gray is the ITU-R 601 luma in one channel."""
    scale: float = 1 / 255
    """Factor on the 0-255 pixel values; 1 for models that take 0-255."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted per channel after ``scale``; one value serves all channels."""
    std: tuple[float, ...] = (1.0,)
    """Divided by per channel after ``mean``; one value serves all channels."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the input tensor's axes."""
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    """Element type of the input tensor; with uint8, scale, mean and std must be neutral (1, 0, 1)."""
    source: str = "guess"
    """Where it comes from, in words a report can print: "--preprocess", "ONNX metadata", ..."""
    guessed: tuple[str, ...] = field(default=())
    """Keys that nobody stated and that were therefore guessed; empty when all are known."""


@dataclass(frozen=True)
class Head:
    """The final linear layer: ``logits = weight @ f + bias`` for penultimate features ``f``."""

    weight: NDArray[np.float64]
    """(c, m): c logits from m features."""
    bias: NDArray[np.float64]
    """(c,)."""
    stored_dtype: StoredDtype
    """How the file stores the weight; decides the rank tolerance (method: geometry)."""
    quantisation_step: NDArray[np.float64] | None
    """(c,) or (1,): step of the integers in weight units, of blocks the root of the mean square; None for floats."""
    kind: str
    """Pattern that was found, e.g. "Gemm", "MatMul+Add", "Conv 1x1", "two heads averaged"."""
    nodes: tuple[str, ...]
    """Names of the graph's nodes that make up the head, in graph order."""
    features: str
    """Name of the tensor that holds the penultimate features (of the first part, where there are several)."""
    logits: str
    """Name of the tensor that holds the logits (before any softmax or sigmoid)."""
    max_error: float
    """Largest ``|W f + b - logits|`` over the proof's samples, divided by the logits' largest magnitude."""
    activation: Activation
    """What the graph, or the user, applies to the logits."""
    activation_stated: bool
    """True when the graph or the user says so; False when softmax was assumed."""


@dataclass(frozen=True)
class Runtime:
    """How ONNX Runtime runs the model whose features and logits are read."""

    mode: RuntimeMode
    """Optimised, unless that computes something else than the graph says and unoptimised does not."""
    difference: float | None
    """Largest difference between the two modes on random images, as a share of the range of an output, of the features
    or of the logits; None where one of them cannot run the model."""
    reason: str = ""
    """Why it is unoptimised, or what is doubtful, in words; empty where both modes compute the same."""


@dataclass(frozen=True)
class Certificate:
    """What was compared, and the verdict."""

    status: Literal["passed", "failed", "unsupported"]
    """passed: the copy may stand in for the model where gradients are needed."""
    precision: Precision | None
    """Precision class that decided the tolerances; None where the graph is unsupported."""
    tolerance: float | None
    """Largest allowed ``max_logit_difference``."""
    max_logit_difference: float | None
    """Largest difference to the better of ONNX Runtime's two modes, as a share of the output's range."""
    difference_unoptimised: float | None
    """The same against ONNX Runtime without graph optimisation; None where it cannot, or was not asked to, run so."""
    difference_optimised: float | None
    """The same against ONNX Runtime with all optimisations."""
    top1_agreement: float | None
    """Share of images, ties aside, with the same top class; None where no output has classes."""
    gradient_cosine: float | None
    """Cosine between the copy's directional derivatives and float64 differences (``gradients.check_gradient``)."""
    ran_on: str
    """"noise" or "N probe images"."""
    unsupported: tuple[str, ...] = ()
    """What the graph holds that the copy does not implement."""
    reason: str = ""
    """Why it did not pass, in words; empty when it did."""


class Classifier(Protocol):
    """An opened classifier: metadata, its head, and one pass from inputs to features and logits."""

    @property
    def name(self) -> str:
        """File name or model name, as shown to people."""
        ...

    @property
    def format(self) -> str:
        """Word for result.json: onnx, checkpoint, timm, ..."""
        ...

    @property
    def sha256(self) -> str:
        """Of the model's bytes, external data included."""
        ...

    @property
    def description(self) -> Mapping[str, str | int]:
        """Facts for ``inspect``: opset, producer, inputs, ... in display order."""
        ...

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names in logit order from the model's own metadata, or None."""
        ...

    @property
    def class_names_source(self) -> str:
        """Where they stand, in words."""
        ...

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become inputs."""
        ...

    @property
    def head(self) -> Head:
        """The final linear layer, proved."""
        ...

    @property
    def runtime(self) -> Runtime:
        """How ONNX Runtime runs it."""
        ...

    @property
    def path(self) -> Path:
        """The file that was named; of a network that was exported, the export."""
        ...

    @property
    def graph_path(self) -> Path:
        """The ONNX graph that is run: a private copy of the model's file, or its export; lives as long as this."""
        ...

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Where in the graph's tensors the features are, part by part."""
        ...

    def forward(self, inputs: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n, m) and logits (n, c), both float32, of a batch laid out as ``preprocessing`` says."""
        ...

    def logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, c) that the classifier's own head arithmetic gives for features (n, m)."""
        ...

    def certify(
        self, inputs: NDArray[np.generic], *, seed: int = 0, device: str = "cpu", gradients: int | None = None
    ) -> Certificate:
        """The certificate of the shadow copy on prepared images (n, ...); ``device`` is torch's name of one.

        ``gradients``: on how many of them the gradient is checked; None: four.
        """
        ...
