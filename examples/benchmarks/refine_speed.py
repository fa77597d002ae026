"""Equivalent images: what a step costs over the shadow copy's own forward and backward pass, and 32 of them in all."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from measuring import Outcome, in_turn

from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.dataset.sources.table import open_source
from singaudit.geometry.null_space import null_space
from singaudit.language.concepts import embed_group, open_vocabulary
from singaudit.language.encoders.table import BUILTIN, open_encoder
from singaudit.metrics.subject import Subject
from singaudit.pictures.audited import Audited
from singaudit.pictures.equivalent_images import make_equivalents
from singaudit.pictures.features import feature_copy
from singaudit.pictures.inputs import to_inputs
from singaudit.pictures.refine import Optics, Settings, refine
from singaudit.pictures.targets import Aim
from singaudit.pictures.units import units


def speed(quick: bool) -> list[Outcome]:
    """Both parts, on the embedded leaky classifier: the smaller the network, the more the rest of a step shows."""
    world, aim = _world(600 if quick else 2000)
    return [_steps(world, 5 if quick else 20), _whole(world, aim)]


def _world(images: int) -> tuple[Audited, Aim]:
    source, encoder, classifier = (
        open_source(f"shapes:{images}:3"),
        open_encoder(BUILTIN),
        open_classifier("builtin:leaky"),
    )
    loaded: list[Any] = [source.load(i) for i in range(images)]
    inputs = np.stack([encoder.prepare(image.pixels) for image in loaded])
    embeddings = np.concatenate([encoder.encode_images(part) for part in np.array_split(inputs, images // 50)])
    features, logits = classifier.forward(np.stack([prepare(i.pixels, classifier.preprocessing) for i in loaded]))
    space, none = null_space(classifier.head), np.empty((0, encoder.embedding_dim))
    subject = Subject(
        features, embeddings, [i.sha256 for i in loaded], np.argmax(logits, axis=1), none, none, (), space, None, 0  # type: ignore[arg-type]
    )  # fmt: skip
    group = next(g for g in open_vocabulary(None, BUILTIN).groups if g.name == "colour")
    world = Audited(classifier, encoder, source, np.arange(images), subject, logits, units(features, logits, space))
    return world, Aim(group.name, group.values, embed_group(encoder, group))


def _steps(world: Audited, repetitions: int) -> Outcome:
    outcome = Outcome("A step of refinement against forward + backward of the shadow copy, same batch", [])
    how, copy, steps = world.classifier.preprocessing, feature_copy(world.classifier), 40
    for batch in (8, 32):
        windows = np.stack([world.source.load(i).pixels for i in range(batch)])  # type: ignore[union-attr]
        optics = Optics(copy, how, world.classifier.head, world.subject.space, world.units)
        # A goal that is never met, so that every image stays for every step.
        goal, null = world.logits[:batch].astype(np.float64) + 100, np.zeros((batch, world.subject.space.feature_dim))
        inputs = to_inputs(torch.from_numpy(windows.transpose(0, 3, 1, 2).astype(np.float32)), how)

        def bare(inputs: torch.Tensor = inputs) -> None:
            for _ in range(steps + 1):
                leaf = inputs.clone().requires_grad_()
                torch.autograd.grad(copy(leaf).sum(), leaf)

        def refined(
            windows: Any = windows, goal: Any = goal, null: Any = null, optics: Any = optics, n: int = batch
        ) -> None:
            refine(windows, goal, null, optics, batch=n, settings=Settings(steps=steps))

        seconds = in_turn({"forward + backward": bare, "refinement": refined}, repetitions)
        ratio = seconds["refinement"] / seconds["forward + backward"]
        outcome.rows.append(
            {
                "batch": batch,
                "forward + backward, ms a step": 1e3 * seconds["forward + backward"] / (steps + 1),
                "refinement, ms a step": 1e3 * seconds["refinement"] / (steps + 1),
                "ratio": ratio,
            }
        )
        outcome.expect(f"cost of a step over forward + backward, batch {batch}", ratio, at_most=1.15)
    return outcome


def _whole(world: Audited, aim: Aim) -> Outcome:
    outcome = Outcome("32 equivalents of the embedded leaky classifier, from choosing starts to the round trip", [])
    start = time.perf_counter()
    made = make_equivalents(world, aim, range(64), feature_copy(world.classifier), count=32)
    seconds = time.perf_counter() - start
    share = sum(e.success for e in made) / len(made)
    move = float(np.median([e.difference.null_move[0] for e in made if e.difference is not None]))
    outcome.rows.append({"images": len(made), "seconds": seconds, "success": share, "median null move": move})
    outcome.expect("seconds for 32 equivalents", seconds, at_most=20)
    outcome.expect("share of success", share, at_least=0.9)
    outcome.expect("median null move, typical norms", move, at_least=0.8)
    return outcome
