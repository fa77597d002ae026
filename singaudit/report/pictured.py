"""The pictures of an audit: what is chosen, what is generated, and the parts of the result they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.decode import decode
from singaudit.language.concepts import Group
from singaudit.metrics.measure import Measured
from singaudit.pictures.equivalent_images import Audited, Equivalent, make_equivalents
from singaudit.pictures.features import FeatureCopy
from singaudit.pictures.natural_pairs import MAX_IMAGES, natural_pairs
from singaudit.pictures.neighbours import retrieve, telling_images
from singaudit.pictures.round_trip import Reading, differences, probabilities, top1
from singaudit.pictures.targets import Aim
from singaudit.report.gallery import class_name, predicted_name
from singaudit.report.generation import summary
from singaudit.report.picture_parts import ControlPicture, GenerationPart, PicturePart, SearchPart
from singaudit.report.result import FindingPart
from singaudit.report.thumbnails import Thumbnails, thumbnail

PAIRS = 6
"""Neighbours and natural pairs that are listed."""
_TOLERANCE = 0.1
_MIN_NULL = 0.8


@dataclass(frozen=True)
class Wanted:
    """What the user asks of generated pictures, and whether they can be had."""

    count: int
    """Images to make equivalents of."""
    toward: str | None
    """Concept group or text; None: what the findings name."""
    blocked: str
    """Why none can be made; empty where they can."""
    copy: Callable[[], FeatureCopy]
    """Opens the certified shadow copy."""
    probe_features: NDArray[np.float32] | None = None
    """Features of probe images, which widen the bounds that reach is judged by."""
    stop: Callable[[], bool] = lambda: False
    """Answers True once the user wants no more."""
    progress: Callable[[int, int, str], None] = lambda done, total, note: None
    """Told (images done, of, step and worst logit error)."""


@dataclass(frozen=True)
class Pictured:
    """Everything about pictures that enters the result, and the files beside it."""

    pictures: list[PicturePart]
    generation: GenerationPart
    search: SearchPart | None
    files: dict[str, bytes]
    """PNG by path below the output folder."""


def pictured(
    world: Audited, names: Sequence[str], measured: Measured, findings: Sequence[FindingPart], groups: Sequence[Group],
    class_names: Sequence[str], wanted: Wanted, seed: int,
) -> Pictured:  # fmt: skip
    """Neighbours, natural pairs and equivalents of the most telling images. ``names`` (n,) are the images'."""
    made = _Parts(world, names, class_names)
    if world.subject.space.null_dim == 0:
        reason = "the head has no logit null space: every change of its features changes some logit"
        return Pictured([], summary([], world.units, None, wanted.count, "none", reason, seed), None, {})
    lead = _lead(findings, measured, groups)
    aim, why = _aim(wanted.toward, lead, groups, world)
    rows = telling_images(world.subject, measured, max(4 * wanted.count, PAIRS), lead)
    pairs = retrieve(world.subject, rows[:PAIRS], 1)
    neighbours = [(p.row, p.near_equivalent[0][0]) for p in pairs if p.near_equivalent]
    order = np.argsort(np.asarray(world.subject.sha256), kind="stable")
    natural = natural_pairs(
        world.subject.features, world.logits, world.subject.embeddings, order, world.subject.space, world.units,
        count=PAIRS, tolerance=_TOLERANCE, min_null=_MIN_NULL,
    )  # fmt: skip
    parts = made.real("neighbour", neighbours, groups[lead].name if lead is not None else "")
    parts += made.real("natural pair", [(p.first, p.second) for p in natural], "")
    search = SearchPart(
        images=min(len(order), MAX_IMAGES), tolerance=_TOLERANCE, min_null=_MIN_NULL, found=len(natural)
    )
    reason = "none were asked for (--generate 0)" if wanted.count == 0 else wanted.blocked or why
    if reason or aim is None:
        generation = summary([], world.units, aim, wanted.count, "none", reason, seed)
        return Pictured(parts, generation, search, {})
    done = make_equivalents(
        world, aim, rows, wanted.copy(), count=wanted.count, probe_features=wanted.probe_features, stop=wanted.stop,
        progress=lambda n, step, worst: wanted.progress(
            n, wanted.count, f"step {step}, worst logit error {worst:.2g} sd"
        ),
    )  # fmt: skip
    stopped = wanted.stop()
    reason = f"interrupted: {len(done)} of {wanted.count} were finished" if stopped else ""
    generation = summary(done, world.units, aim, wanted.count, "stopped" if stopped else "made", reason, seed)
    parts += [made.generated(i, equivalent, aim) for i, equivalent in enumerate(done, 1)]
    return Pictured(parts, generation, search, made.files)


def _lead(findings: Sequence[FindingPart], measured: Measured, groups: Sequence[Group]) -> int | None:
    """The attribute with the gravest finding and the largest carried share; the classes themselves are no attribute."""
    leaking = [
        (f.finding == "strong", f.carried_share.value, -i)
        for i, f in enumerate(findings)
        if f.carried_share and f.finding in ("strong", "partial") and measured.contrast[i] is not None
        and groups[i].name != "class" and groups[i].kind != "concept"
    ]  # fmt: skip
    return -max(leaking)[2] if leaking else None


def _aim(toward: str | None, lead: int | None, groups: Sequence[Group], world: Audited) -> tuple[Aim | None, str]:
    """What to lead images toward, or why there is nothing."""
    if toward is not None:
        named = [i for i, g in enumerate(groups) if g.name == toward and g.kind != "concept"]
        if not named:
            return Aim("", (toward,), world.encoder.encode_texts([toward])), ""
        lead = named[0]
    if lead is None:
        return None, "no finding names an attribute that the head ignores; --toward GROUP or TEXT aims at one"
    return Aim(groups[lead].name, groups[lead].values, world.subject.groups[lead].texts), ""


class _Parts:
    """Builds the parts, and collects the files."""

    def __init__(self, world: Audited, names: Sequence[str], class_names: Sequence[str]) -> None:
        self._world, self._names, self._classes = world, names, class_names
        self._thumbnails = Thumbnails(world.source, world.indices)
        self.files: dict[str, bytes] = {}

    def real(self, kind: str, pairs: list[tuple[int, int]], group: str) -> list[PicturePart]:
        """Parts of pairs (position, position) of real images."""
        if not pairs:
            return []
        w, s = self._world, self._world.subject
        first, second = (
            Reading(s.features[list(rows)], w.logits[list(rows)], s.embeddings[list(rows)])
            for rows in zip(*pairs, strict=True)
        )
        d = differences(first, second, s.space, w.classifier.head.activation, w.units, None)
        return [
            PicturePart.model_validate({
                **self._image(a), "kind": kind, "group": group, "value": "", "target": "", "partner": self._names[b],
                "file": None, "original_file": None, "logit_difference": float(d.logit[k]),
                "probability_difference": None if d.probability is None else float(d.probability[k]),
                "top1_kept": bool(d.top1_kept[k]), "null_move": float(d.null_move[k]),
                "image_score_deg": float(d.image_score_deg[k]), "attribute_score_deg": None, "success": None,
                "reason": "", "probability_after": self._same_class(first.logits[k], second.logits[k]), "reach": None,
                "pixel_distance": None, "residual": None, "independent_witness": False, "control": None,
                "other_thumbnail": self._thumbnails(b),
            })
            for k, (a, b) in enumerate(pairs)
        ]  # fmt: skip

    def generated(self, number: int, e: Equivalent, aim: Aim) -> PicturePart:
        """The part of an attempted equivalent; its files are kept."""
        made, d, c = e.picture is not None, e.difference, e.control_difference
        stem = f"pictures/{number:03d}"
        own = {"file": f"{stem}-refined.png", "original_file": f"{stem}-original.png"} if made else {}
        if made:
            self.files |= {own["original_file"]: e.original or b"", own["file"]: e.picture or b""}
            self.files[f"{stem}-control.png"] = e.control or b""
        numbers = None if d is None else {
            "logit_difference": float(d.logit[0]),
            "probability_difference": None if d.probability is None else float(d.probability[0]),
            "top1_kept": bool(d.top1_kept[0]), "null_move": float(d.null_move[0]),
            "image_score_deg": float(d.image_score_deg[0]),
            "attribute_score_deg": None if d.attribute_score_deg is None else float(d.attribute_score_deg[0]),
        }  # fmt: skip
        control = None
        if c is not None and e.control is not None:
            control = ControlPicture(
                logit_difference=float(c.logit[0]), top1_kept=bool(c.top1_kept[0]), null_move=float(c.null_move[0]),
                probability_difference=None if c.probability is None else float(c.probability[0]),
                image_score_deg=float(c.image_score_deg[0]),
                attribute_score_deg=None if c.attribute_score_deg is None else float(c.attribute_score_deg[0]),
                thumbnail=thumbnail(decode(e.control)),
            )  # fmt: skip
        empty = dict.fromkeys(
            ("logit_difference", "probability_difference", "top1_kept", "null_move", "image_score_deg",
             "attribute_score_deg", "file", "original_file")
        )  # fmt: skip
        return PicturePart.model_validate({
            **self._image(e.row), **empty, **own, **(numbers or {}), "kind": "refined", "group": aim.group,
            "value": aim.values[e.own] if e.own >= 0 else "",
            "target": aim.values[e.value], "partner": "" if e.start is None else self._names[e.start],
            "success": e.success, "reason": e.reason, "reach": e.reach,
            "probability_after": self._after(e) if made else None,
            "pixel_distance": e.pixel_distance if made else None, "residual": e.residual if made else None,
            "independent_witness": False, "control": control,
            "thumbnail": "" if e.original is None else thumbnail(decode(e.original)),
            "other_thumbnail": "" if e.picture is None else thumbnail(decode(e.picture)),
        })  # fmt: skip

    def _image(self, row: int) -> dict[str, object]:
        logits = self._world.logits[row]
        return {
            "image": self._names[row], "class_name": class_name(self._world.subject, self._classes, row),
            "predicted": predicted_name(self._classes, logits), "probability": self._same_class(logits, logits),
            "thumbnail": self._thumbnails(row),
        }  # fmt: skip

    def _same_class(self, logits: NDArray[np.float32], after: NDArray[np.float32]) -> float | None:
        """Probability that logits ``after`` (c,) give to the class which ``logits`` predict."""
        p = probabilities(after[None].astype(np.float64), self._world.classifier.head.activation)
        if p is None:
            return None
        if len(after) == 1:
            return float(p[0, 0] if logits[0] > 0 else 1 - p[0, 0])
        return float(p[0, top1(logits[None].astype(np.float64))[0]])

    def _after(self, e: Equivalent) -> float | None:
        return None if e.logits is None else self._same_class(self._world.logits[e.row], e.logits)
