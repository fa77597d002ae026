"""Equivalent images: from what the findings name to pictures with the original's logits, checked by a round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.dataset.interface import Image, ImageSource
from singaudit.language.interface import Encoder
from singaudit.metrics.subject import Subject
from singaudit.pictures.features import FeatureCopy
from singaudit.pictures.inputs import framed, window
from singaudit.pictures.reach import nearest_admissible, observed_bounds
from singaudit.pictures.refine import LOGIT_BOUND, Optics, Refined, refine
from singaudit.pictures.round_trip import Difference, Reading, differences, equally_far, png, read_back
from singaudit.pictures.targets import Aim, Readings, null_shift, read, starting_images, wished_null, wished_values
from singaudit.pictures.units import Units

Array = NDArray[np.float64]

STARTS = 3
"""Real images that are tried for one equivalent, one after the other."""
# Real images the control pictures are made from.
_POOL = 64
# A wish shorter than this (typical null norms) asks for hardly any move: there is nothing that bounds could forbid.
_LEAST_WISH = 0.3
# Below this share of its way a wish is out of reach, and a picture would only show noise.
_LEAST_REACH = 0.1
# Pixels at once: 32 images of 64 x 64, 5 of 224 x 224 on a CPU, where larger batches are no faster.
_PIXELS = 2**18
_LARGEST_BATCH = 32
# A GPU needs more to do at once.
_ON_GPU = 8


@dataclass(frozen=True)
class Audited:
    """What an audit knows about its images and models when pictures are made."""

    classifier: Classifier
    """The deployed model."""
    encoder: Encoder
    """The vision-language model."""
    source: ImageSource
    """Of the audited images."""
    indices: NDArray[np.intp]
    """(n,) positions of the images in the source."""
    subject: Subject
    """Features, embeddings, hashes, null space of the n images."""
    logits: NDArray[np.float32]
    """(n, c)."""
    units: Units
    """What differences are counted in."""


@dataclass(frozen=True)
class Equivalent:
    """One image, and what came of making an equivalent of it."""

    row: int
    """Position of the image among the audited."""
    value: int
    """What it was led toward, in ``Aim.values``."""
    own: int
    """What it shows itself; -1 for a free text that it does not show."""
    start: int | None
    """Position of the real image it was made from; None where none was found."""
    reach: float
    """Which part of the wished null move the features' observed bounds allow, 0 to 1."""
    steps: int
    """Optimisation steps of the last start."""
    reason: str
    """Why there is no picture, or why it is no success; empty for a success."""
    original: bytes | None = None
    """PNG of the image, framed as the classifier sees it."""
    picture: bytes | None = None
    """PNG of the equivalent; None where none was made."""
    control: bytes | None = None
    """PNG of the control: as far from the original in pixels, nothing else asked."""
    pixel_distance: float = 0.0
    """Root mean square difference between original and equivalent, in 8-bit levels, over the classifier's window."""
    residual: float = 0.0
    """The same between equivalent and the real image it was made from: what the optimisation added."""
    shows: bool = False
    """Whether the vision-language model reads the wished value from the picture itself (a free text: AS > 0)."""
    difference: Difference | None = None
    """Original against equivalent after the round trip; arrays of length 1."""
    control_difference: Difference | None = None
    """Original against control."""
    logits: NDArray[np.float32] | None = None
    """(c,) logits of the equivalent after the round trip."""

    @property
    def success(self) -> bool:
        """Logits kept within the bound, top class kept, and the wished value read from the saved picture."""
        return self.picture is not None and not self.reason


def batch_of(height: int, width: int, device: str) -> int:
    """Images optimised at once; a matter of memory and speed alone."""
    size = max(1, min(_LARGEST_BATCH, _PIXELS // (height * width)))
    return size * _ON_GPU if device.startswith("cuda") else size


def make_equivalents(
    audited: Audited, aim: Aim, rows: Sequence[int], copy: FeatureCopy, *, count: int | None = None,
    probe_features: NDArray[np.float32] | None = None, stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda done, step, worst: None,
) -> list[Equivalent]:  # fmt: skip
    """Equivalents of the images ``rows`` toward ``aim``, failures among them.

    Images that show a free text already are passed over; of the others the first ``count`` are taken.
    ``probe_features`` widen the observed bounds. ``stop`` ends the optimisation: what is finished is checked and
    returned, the rest is left out. ``progress`` is told (images done, step, worst logit error). Fully determined by its
    inputs: there is no draw.
    """
    subject, space = audited.subject, audited.subject.space
    readings = read(subject.embeddings, aim)
    values = wished_values(readings, rows)
    kept = np.flatnonzero(values >= 0)[:count]
    positions, values = np.asarray(rows, np.intp)[kept], values[kept]
    if not len(positions):
        return []
    features = subject.features[positions]
    wish = wished_null(
        subject.features, readings, positions, values, null_shift(subject.features, readings.similarity, space), space
    )
    seen = [subject.features] if probe_features is None else [subject.features, probe_features]
    reached = nearest_admissible(features, wish, observed_bounds(*seen), space)
    wished = np.linalg.norm(wish - space.null_part(features), axis=1) / audited.units.typical_null
    hopeless = (wished >= _LEAST_WISH) & (reached.share < _LEAST_REACH)
    starts = starting_images(
        positions, values, readings, subject.features, audited.logits, subject.embeddings, reached.null, aim, space,
        audited.units, STARTS,
    )  # fmt: skip
    starts[hopeless] = -1
    work = _Work(audited, copy, positions, reached.null, starts)
    work.run(stop, progress)
    return _checked(audited, aim, readings, values, reached.share, hopeless, work)


class _Work:
    """Refines every image from its first start, those that fail from their next, and so on."""

    def __init__(
        self, audited: Audited, copy: FeatureCopy, positions: NDArray[np.intp], null: Array, starts: NDArray[np.intp]
    ) -> None:
        self.positions, self.starts = positions, starts
        self.chosen = np.full(len(positions), -1, np.intp)
        self.windows: list[NDArray[np.uint8] | None] = [None] * len(positions)
        self.frames: dict[int, NDArray[np.uint8]] = {}
        self.steps = np.zeros(len(positions), np.intp)
        self.met, self.finished = np.zeros(len(positions), np.bool_), np.zeros(len(positions), np.bool_)
        self._error = np.full(len(positions), np.inf)
        self._audited, self._copy, self._null = audited, copy, null

    def frame(self, row: int) -> NDArray[np.uint8]:
        """(H, W, 3) the audited image ``row`` as it would be saved."""
        if row not in self.frames:
            image = self._audited.source.load(int(self._audited.indices[row]))
            how = self._audited.classifier.preprocessing
            # A file that vanished since the pass is a grey picture, which no check will let pass.
            pixels = image.pixels if isinstance(image, Image) else np.full((8, 8, 3), 128, np.uint8)
            self.frames[row] = framed(pixels, how)
        return self.frames[row]

    def run(self, stop: Callable[[], bool], progress: Callable[[int, int, float], None]) -> None:
        """All rounds. An image whose starts are used up is finished, met or not."""
        how, audited = self._audited.classifier.preprocessing, self._audited
        optics = Optics(self._copy, how, audited.classifier.head, audited.subject.space, audited.units)
        batch = batch_of(how.height, how.width, self._copy.device)
        for turn in range(self.starts.shape[1]):
            self.finished |= self.starts[:, turn] < 0
            active = np.flatnonzero(~self.met & ~self.finished)
            if not len(active) or stop():
                break
            before = int((self.met | self.finished).sum())
            windows = np.stack([self.frame(int(row))[window(how)] for row in self.starts[active, turn]])

            def tell(done: int, step: int, worst: float, before: int = before) -> None:
                progress(before + done, step, worst)

            goal = audited.logits[self.positions[active]].astype(np.float64)
            found = refine(windows, goal, self._null[active], optics, batch=batch, stop=stop, progress=tell)
            self._take(active, turn, found)
        self.finished |= self.met

    def _take(self, active: NDArray[np.intp], turn: int, found: Refined) -> None:
        """Keep what is nearer to the goal than an earlier start's."""
        last = turn + 1 == self.starts.shape[1]
        for k, image in enumerate(active):
            self.finished[image] = bool(found.met[k]) or (last and bool(found.finished[k]))
            if found.logit_error[k] < self._error[image]:
                self._error[image], self.met[image] = found.logit_error[k], found.met[k]
                self.chosen[image] = self.starts[image, turn]
                self.windows[image], self.steps[image] = found.windows[k], found.steps[k]


def _checked(
    audited: Audited, aim: Aim, readings: Readings, values: NDArray[np.intp], reach: Array, hopeless: NDArray[np.bool_],
    work: _Work,
) -> list[Equivalent]:  # fmt: skip
    """Save, read back and compare every finished picture."""
    made = [i for i in range(len(values)) if work.windows[i] is not None and work.finished[i]]
    checks = _round_trip(audited, aim, values, work, made) if made else {}
    result = []
    for i, row in enumerate(work.positions):
        common: dict[str, Any] = {
            "row": int(row), "value": int(values[i]),
            "own": int(readings.value[row]), "reach": float(reach[i]), "steps": int(work.steps[i]),
        }  # fmt: skip
        if i in checks:
            result.append(Equivalent(**common, start=int(work.chosen[i]), **checks[i]))
        elif hopeless[i]:
            reason = f"no equivalent found: the features' observed bounds allow {reach[i]:.0%} of the wished null move"
            result.append(Equivalent(**common, start=None, reason=reason, original=png(work.frame(int(row)))))
        elif work.finished[i]:
            reason = "no equivalent found: no other image shows what is wished for"
            result.append(Equivalent(**common, start=None, reason=reason, original=png(work.frame(int(row)))))
    return result


def _round_trip(
    audited: Audited, aim: Aim, values: NDArray[np.intp], work: _Work, made: list[int]
) -> dict[int, dict[str, Any]]:
    """Per picture what its round trip showed, beside a control as far away in pixels."""
    how, head = audited.classifier.preprocessing, audited.classifier.head
    place = window(how)
    originals = [work.frame(int(work.positions[i])) for i in made]
    inside = np.stack([frame[place] for frame in originals])
    pictures = np.stack([work.windows[i] for i in made])  # type: ignore[misc]
    starts = np.stack([work.frame(int(work.chosen[i]))[place] for i in made])
    controls, _ = equally_far(inside, pictures, _pool(audited, work, place))
    files = {
        "original": [png(frame) for frame in originals],
        "picture": [png(_put(work.frame(int(work.chosen[i])), place, p)) for i, p in zip(made, pictures, strict=True)],
        "control": [png(_put(frame, place, c)) for frame, c in zip(originals, controls, strict=True)],
    }
    seen = {name: read_back(data, audited.classifier, audited.encoder) for name, data in files.items()}
    texts, wished = aim.texts[values[made]], values[made]

    def against(other: Reading) -> Difference:
        return differences(seen["original"], other, audited.subject.space, head.activation, audited.units, texts)

    difference, control = against(seen["picture"]), against(seen["control"])
    assert difference.attribute_score_deg is not None
    nearest = np.argmax(seen["picture"].embeddings.astype(np.float64) @ aim.texts.T, axis=1)
    shows = difference.attribute_score_deg > 0 if aim.is_text else nearest == wished
    return {
        i: {
            "reason": _reason(difference, k, bool(shows[k])), "shows": bool(shows[k]),
            "pixel_distance": _distance(inside[k], pictures[k]), "residual": _distance(starts[k], pictures[k]),
            "difference": difference.at(k), "control_difference": control.at(k), "logits": seen["picture"].logits[k],
            **{name: data[k] for name, data in files.items()},
        }
        for k, i in enumerate(made)
    }  # fmt: skip


def _reason(difference: Difference, k: int, shows: bool) -> str:
    """Why a picture is no success; empty when it is one."""
    if not difference.logit[k] <= LOGIT_BOUND:
        return f"the logits moved by up to {difference.logit[k]:.2g} standard deviations, allowed are {LOGIT_BOUND}"
    if not difference.top1_kept[k]:
        return "the predicted class changed"
    return "" if shows else "the vision-language model does not read what was wished for from the picture"


def _pool(audited: Audited, work: _Work, place: tuple[slice, slice]) -> NDArray[np.uint8]:
    """(k, h, w, 3) windows of the first images in hash order, for controls."""
    order = np.argsort(np.asarray(audited.subject.sha256), kind="stable")
    rows = [int(row) for row in order if row not in set(work.positions.tolist())][:_POOL]
    return np.stack([work.frame(row)[place] for row in rows or work.positions.tolist()])


def _put(frame: NDArray[np.uint8], place: tuple[slice, slice], inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
    whole = frame.copy()
    whole[place] = inside
    return whole


def _distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.sqrt(np.mean(np.square(a.astype(np.float64) - b.astype(np.float64)))))
