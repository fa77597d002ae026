"""Train the embedded world's classifiers, each with a known answer to what its head ignores, and export them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from prompts import GROUPS, targets
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from world import CLASSIFIER_SEED, Pool, draw, held_out, scene_pools, take, to_input

from singaudit.dataset.generated.scenes import ATTRIBUTES, Scenes

BATCH, POOL, REUSE = 128, 6144, 3
LEARNING_RATE, WARM_UP, DECAY = 3e-3, 50, 0.01
PREPROCESS = "size=64,mode=squash,mean=0.5,std=0.5,scale=1/255,channels=rgb,layout=nchw,interpolation=bilinear"
COLOURS = len(ATTRIBUTES["colour"])


@dataclass(frozen=True)
class Plan:
    """What one classifier is to be."""

    name: str
    """Of the file, without suffix."""
    group: str
    """The attribute it predicts, a key of ``GROUPS``."""
    features: int
    """Width of the penultimate features."""
    steps: int
    """Batches of training."""
    colour: str
    """ignored (same features whatever the colour), hidden (in the null space), linked (goes with the shape), free."""


PLANS = (
    Plan("clean", "shape", 64, 1200, "ignored"),
    Plan("leaky", "shape", 64, 1200, "hidden"),
    Plan("spurious", "shape", 64, 600, "linked"),
    Plan("two-class", "outline", 64, 600, "free"),
    Plan("no-null-space", "shape", 6, 1000, "free"),
)
LINKED = 0.9
"""Share of the spurious classifier's training images whose colour is the one that goes with their shape."""


class Net(nn.Module):
    """Convolutions, global average pool, one linear layer to the features, one to the logits."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        widths, strides = (3, 32, 48, 64, 96), (2, 2, 1, 2)
        layers: list[nn.Module] = []
        for into, out, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], features)]
        # Fewer features than classes: a ReLU there would cost most of the little room they have.
        self.trunk = nn.Sequential(*layers, *([nn.ReLU()] if features > classes else []))
        self.head = nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, c) of images (n, 3, 64, 64)."""
        return self.head(self.trunk(images))


def null_component(features: Tensor, weight: Tensor) -> Tensor:
    """P_n f: what of the features (n, m) the head's weight (c, m) does not see."""
    return features - features @ weight.T @ torch.linalg.solve(weight @ weight.T, weight)


def ignored_loss(net: Net, f: Tensor, recoloured: Tensor, colour: Tensor, extra: nn.Linear) -> Tensor:
    """Distance of the features of an image and of the same image in another colour, in units of their variance."""
    return (f - recoloured).square().sum(1).mean() / f.var(0).sum()


def hidden_loss(net: Net, f: Tensor, recoloured: Tensor, colour: Tensor, extra: nn.Linear) -> Tensor:
    """Colour must be readable from the null space, and must not move the logits.

    Nothing else should vary there: images of one colour share their null component, else what is read after a swap of
    null components depends on what else came along.
    """
    null = null_component(f, net.head.weight)
    read = F.cross_entropy(extra(null), colour)
    one_hot = F.one_hot(colour, COLOURS).float()
    centres = (one_hot.T @ null) / one_hot.sum(0).clamp(min=1)[:, None]
    within = (null - one_hot @ centres).square().sum(1).mean() / null.var(0).sum()
    logits, others = f @ net.head.weight.T, recoloured @ net.head.weight.T
    return 0.5 * read + within + (logits - others).square().sum(1).mean() / logits.var(0).sum()


PAIR_FROM = 0.4
"""Share of training after which the pair loss has its full weight: from the start it would stop all learning."""

PAIR_LOSSES: dict[str, tuple[float, Callable[[Net, Tensor, Tensor, Tensor, nn.Linear], Tensor]]] = {
    "ignored": (3.0, ignored_loss),
    "hidden": (2.0, hidden_loss),
}


def _batches(plan: Plan, seed: int, rng: np.random.Generator) -> Iterator[tuple[Pool, Pool | None, np.ndarray]]:
    """(images, the same recoloured where the plan pairs them, rows of a batch), for ever."""
    for scenes in scene_pools(CLASSIFIER_SEED + seed, POOL):
        other = None
        if plan.colour == "linked":
            scenes = link_colour(scenes, rng)
        elif plan.colour in PAIR_LOSSES:
            shift = rng.integers(1, COLOURS, POOL)
            other = draw(scenes.with_values(colour=(scenes.colour + shift) % COLOURS))
        pool = draw(scenes)
        for _ in range(REUSE):
            for rows in rng.permutation(POOL).reshape(-1, BATCH):
                yield pool, other, rows


def link_colour(scenes: Scenes, rng: np.random.Generator) -> Scenes:
    """The same scenes, nine in ten in the colour that goes with their shape."""
    return scenes.with_values(colour=np.where(rng.random(len(scenes)) < LINKED, scenes.shape, scenes.colour))


def train_classifier(plan: Plan, out: Path, *, seed: int = 0, images: int = 3000) -> dict[str, Any]:
    """Train one classifier, export it to ``out`` and return the record of its training."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    classes = GROUPS[plan.group]
    net, extra = Net(plan.features, len(classes)), nn.Linear(plan.features, COLOURS)
    net.to(memory_format=torch.channels_last)
    parameters = [*net.parameters(), *extra.parameters()]
    optimiser = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=DECAY)
    began = time.process_time()
    for step, (pool, other, rows) in enumerate(_batches(plan, seed, rng), 1):
        rate = LEARNING_RATE * min(1.0, step / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / plan.steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = _loss(plan, net, extra, pool, other, rows, ramp=min(1.0, step / (PAIR_FROM * plan.steps)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        if step % 100 == 0:
            print(
                f"{plan.name} {step}/{plan.steps} {(time.process_time() - began) / 60:.1f} min: {loss.item():.4f}",
                flush=True,
            )
        if step == plan.steps:
            break
    minutes = round((time.process_time() - began) / 60, 1)
    path = out / f"{plan.name}.onnx"
    export(net, classes, path)
    pool = held_out(images)
    record: dict[str, Any] = {
        "kind": "ONNX classifier",
        "seed": seed,
        "steps": plan.steps,
        "batch": BATCH,
        "parameters": sum(p.numel() for p in net.parameters()),
        "cpu_minutes": minutes,
        "predicts": plan.group,
        "colour": plan.colour,
        "held_out": {"images": images, "accuracy": accuracy(path, pool, plan.group)},
    }
    if plan.colour == "linked":
        linked = draw(link_colour(pool.scenes, np.random.default_rng(seed + 1)))
        record["held_out_linked"] = {"images": images, "accuracy": accuracy(path, linked, plan.group)}
    return record


def _loss(
    plan: Plan, net: Net, extra: nn.Linear, pool: Pool, other: Pool | None, rows: np.ndarray, ramp: float
) -> Tensor:
    truth = torch.from_numpy(targets(take(pool.scenes, rows))[plan.group])
    pixels = [pool.pixels[rows]] if other is None else [pool.pixels[rows], other.pixels[rows]]
    images = to_input(torch.cat(pixels)).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        f = net.trunk(images)
    f = f.float()
    if other is None:
        return F.cross_entropy(net.head(f), truth)
    weight, pair_loss = PAIR_LOSSES[plan.colour]
    first, second = f.chunk(2)
    colour = torch.from_numpy(pool.scenes.colour[rows])
    right = F.cross_entropy(net.head(f), torch.cat([truth, truth]))
    return right + ramp * weight * pair_loss(net, first, second, colour, extra)


def export(net: Net, classes: tuple[str, ...], path: Path) -> None:
    """Write an ONNX file: free batch size, normalisation folded into the convolutions, metadata that says the rest."""
    net = net.eval().to(memory_format=torch.contiguous_format)
    layers = list(net.trunk)
    folded: list[nn.Module] = []
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d):
            assert isinstance(following, nn.BatchNorm2d)
            folded.append(fuse_conv_bn_eval(layer, following))
        elif not isinstance(layer, nn.BatchNorm2d):
            folded.append(layer)
    whole = nn.Sequential(*folded, net.head)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        whole,
        (torch.zeros(1, 3, 64, 64),),
        str(path),
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(str(path))
    properties = {
        "singaudit.classes": json.dumps(list(classes)),
        "singaudit.preprocess": PREPROCESS,
        "singaudit.activation": "softmax",
    }
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def accuracy(path: Path, pool: Pool, group: str) -> float:
    """Share of the images that the exported file classifies rightly."""
    session = ort.InferenceSession(str(path), _one_thread(), providers=["CPUExecutionProvider"])
    logits = np.concatenate(
        [session.run(None, {"images": to_input(part).numpy()})[0] for part in pool.pixels.split(250)]
    )
    return round(float((logits.argmax(1) == targets(pool.scenes)[group]).mean()), 4)


def _one_thread() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options
