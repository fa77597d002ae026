"""The pictures of an audit: what is chosen, what is generated, and the parts of the result they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singaudit.language.interface import Encoder
from singaudit.metrics.groups import MeasuredGroup
from singaudit.metrics.measure import Measured
from singaudit.pictures.audited import Audited
from singaudit.pictures.decoding.decoded import Decoded
from singaudit.pictures.equivalent_images import make_equivalents
from singaudit.pictures.natural_pairs import MAX_IMAGES, natural_pairs
from singaudit.pictures.neighbours import retrieve, telling_images
from singaudit.pictures.targets import Aim, aim_at
from singaudit.report.build.generation import decoding_summary, summary
from singaudit.report.build.pictures import PictureParts
from singaudit.report.result.findings import FindingPart
from singaudit.report.result.pictures import DecodingPart, GenerationPart, PicturePart, SearchPart

if TYPE_CHECKING:
    from singaudit.pictures.features import FeatureCopy

PAIRS = 6
"""Neighbours and natural pairs that are listed."""
TOLERANCE = 0.1
"""Natural pairs' logits match within this, in standard deviations of each."""
MIN_NULL = 0.8
"""Their null components are at least this far apart, in typical null norms."""
NO_NULL_SPACE = "the head has no logit null space: every change of its features changes some logit"


@dataclass(frozen=True)
class PictureRequest:
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
    decode: Callable[[Audited, Sequence[int]], list[Decoded]] | None = None
    """Draws the translated features of images by position; None: not asked for."""
    decoder: tuple[str, str | None, str] = ("", None, "")
    """Name and commit of what draws."""

    def told(self, done: int, step: int, worst: float) -> None:
        """Pass on what the optimisation tells."""
        self.progress(done, self.count, f"step {step}, worst logit error {worst:.2g} sd")


@dataclass(frozen=True)
class Pictured:
    """Everything about pictures that enters the result, and the files beside it."""

    pictures: list[PicturePart]
    generation: GenerationPart
    search: SearchPart | None
    decoding: DecodingPart | None
    files: dict[str, bytes]
    """PNG by path below the output folder."""


def pictured(
    world: Audited,
    names: Sequence[str],
    measured: Measured,
    findings: Sequence[FindingPart],
    class_names: Sequence[str],
    wanted: PictureRequest,
    seed: int,
) -> Pictured:
    """Neighbours, natural pairs, equivalents and decoded pictures of the most telling images.

    ``names`` (n,) are the images'.
    """
    made = PictureParts(world, names, class_names)
    if world.subject.space.null_dim == 0:
        return Pictured([], summary([], world.units, None, wanted.count, "none", NO_NULL_SPACE, seed), None, None, {})
    lead = _lead(findings, measured)
    aim, why = _aim(wanted.toward, lead, measured, world.encoder)
    rows = telling_images(world.subject, measured, max(4 * wanted.count, PAIRS), lead)
    pairs = retrieve(world.subject, rows[:PAIRS], 1)
    neighbours = [(p.row, p.near_equivalent[0][0]) for p in pairs if p.near_equivalent]
    order = np.argsort(np.asarray(world.subject.sha256), kind="stable")
    natural = natural_pairs(
        world.subject.features, world.logits, world.subject.embeddings, order, world.subject.space, world.units,
        count=PAIRS, tolerance=TOLERANCE, min_null=MIN_NULL,
    )  # fmt: skip
    what = lead.of.name if lead is not None else ""
    parts = made.real("neighbour", neighbours, what)
    parts += made.real("natural pair", [(p.first, p.second) for p in natural], "")
    search = SearchPart(images=min(len(order), MAX_IMAGES), tolerance=TOLERANCE, min_null=MIN_NULL, found=len(natural))
    reason = "none were asked for (--generate 0)" if wanted.count == 0 else wanted.blocked or why
    if reason or aim is None:
        generation = summary([], world.units, aim, wanted.count, "none", reason, seed)
    else:
        done = make_equivalents(
            world,
            aim,
            rows,
            wanted.copy(),
            count=wanted.count,
            probe_features=wanted.probe_features,
            stop=wanted.stop,
            progress=wanted.told,
        )
        stopped = wanted.stop()
        reason = f"interrupted: {len(done)} of {wanted.count} were finished" if stopped else ""
        generation = summary(done, world.units, aim, wanted.count, "stopped" if stopped else "made", reason, seed)
        parts += [made.generated(i, equivalent, aim) for i, equivalent in enumerate(done, 1)]
    decoding = None
    if wanted.decode is not None:
        drawn = [] if wanted.blocked else wanted.decode(world, rows)
        parts += [made.decoded(i, d, what) for i, d in enumerate(drawn, 1)]
        decoding = decoding_summary(drawn, wanted.decoder, wanted.blocked or wanted.stop() * "interrupted", seed)
    return Pictured(parts, generation, search, decoding, made.files)


def _lead(findings: Sequence[FindingPart], measured: Measured) -> MeasuredGroup | None:
    """The attribute with the gravest finding and the largest carried share; the classes themselves are no attribute."""
    leaking = [
        (f.finding == "strong", f.carried_share.value, -i)
        for i, f in enumerate(findings)
        if f.carried_share
        and f.finding in ("strong", "partial")
        and measured.group(f.group).contrast is not None
        and f.kind == "group"
    ]
    return measured.group(findings[-max(leaking)[2]].group) if leaking else None


def _aim(
    toward: str | None, lead: MeasuredGroup | None, measured: Measured, encoder: Encoder
) -> tuple[Aim | None, str]:
    """What to lead images toward, or why there is nothing."""
    if toward is not None:
        given = [group.of for group in measured.groups]
        return aim_at(toward, [group.group for group in given], [group.texts for group in given], encoder), ""
    if lead is None:
        return None, "no finding names an attribute that the head ignores; --toward GROUP or TEXT aims at one"
    return Aim(lead.of.name, lead.of.group.values, lead.of.texts), ""
