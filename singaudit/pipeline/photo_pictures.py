"""The pictures of one photo: its neighbours, its natural pairs, and equivalents of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from singaudit.language.concepts import Group
from singaudit.metrics.scores import Array
from singaudit.pictures.equivalent_images import equivalents_of
from singaudit.pictures.natural_pairs import natural_partners
from singaudit.pictures.neighbours import retrieve
from singaudit.pictures.one_photo import PhotoWorld
from singaudit.pictures.targets import Aim, aim_at, read
from singaudit.pipeline.audit_pictures import MIN_NULL, NO_NULL_SPACE, TOLERANCE, Pictured, PictureRequest
from singaudit.report.build.generation import summary
from singaudit.report.build.pictures import PictureParts
from singaudit.report.result.pictures import SearchPart

PAIRS = 3
"""Neighbours and natural pairs of one photo."""


def pictured_photo(
    world: PhotoWorld,
    toward: str,
    groups: Sequence[Group],
    texts: Sequence[Array],
    class_names: Sequence[str],
    wanted: PictureRequest,
    seed: int,
    stem: str,
) -> Pictured:
    """What ``pictured`` gives for an audit, for one photo: ``wanted.count`` equivalents are tried of it.

    ``texts`` (per group (v, d)) are the embeddings of the ``groups``' values; ``stem`` is the folder of its files.
    """
    audited, row = world.audited, world.row
    subject = audited.subject
    if subject.space.null_dim == 0:
        return Pictured([], summary([], audited.units, None, wanted.count, "none", NO_NULL_SPACE, seed), None, None, {})
    made = PictureParts(audited, world.names, class_names, stem)
    aim = aim_at(toward, groups, texts, audited.encoder)
    near = retrieve(subject, [row], PAIRS)[0].near_equivalent
    order = np.argsort(np.asarray(subject.sha256), kind="stable")
    natural, nearest = natural_partners(
        row, subject.features, audited.logits, subject.embeddings, order, subject.space, audited.units, count=PAIRS,
        tolerance=TOLERANCE, min_null=MIN_NULL,
    )  # fmt: skip
    parts = made.real("neighbour", [(row, other) for other, _ in near], "")
    parts += made.real("natural pair", [(p.first, p.second) for p in natural], "")
    search = SearchPart(
        images=len(order) - 1, tolerance=TOLERANCE, min_null=MIN_NULL, found=len(natural), nearest=nearest
    )
    shown = _shown(world, aim)
    reason = shown or ("none were asked for (--generate 0)" if wanted.count == 0 else wanted.blocked)
    if reason:
        generation = summary([], audited.units, aim, wanted.count, "none", reason, seed, one_image=True)
        return Pictured(parts, generation.model_copy(update={"shown_already": bool(shown)}), search, None, {})
    done = equivalents_of(audited, aim, row, wanted.copy(), count=wanted.count, stop=wanted.stop, progress=wanted.told)
    stopped = wanted.stop()
    reason = f"interrupted: {len(done)} of {wanted.count} were finished" if stopped else ""
    generation = summary(
        done, audited.units, aim, wanted.count, "stopped" if stopped else "made", reason, seed, one_image=True
    )
    parts += [made.generated(i, equivalent, aim) for i, equivalent in enumerate(done, 1)]
    return Pictured(parts, generation, search, None, made.files)


def _shown(world: PhotoWorld, aim: Aim) -> str:
    """Why a photo need not be led anywhere; empty for most."""
    readings = read(world.audited.subject.embeddings, aim)
    if not readings.already[world.row]:
        return ""
    nearer = int((readings.similarity[:, 0] > readings.similarity[world.row, 0]).sum())
    return (
        f"the photo already shows “{aim.values[0]}” to the vision-language model: {nearer:,} of "
        f"{len(readings.value) - 1:,} reference images are nearer to the text"
    )
