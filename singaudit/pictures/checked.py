"""Equivalents as they are reported: every finished picture saved, read back and compared, failures among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.pictures.attempts import Attempts
from singaudit.pictures.audited import Audited
from singaudit.pictures.inputs import window
from singaudit.pictures.round_trip import Difference, Reading, differences, equally_far, png, read_back
from singaudit.pictures.targets import Aim, Readings, shown_values
from singaudit.pictures.units import LOGIT_BOUND

Array = NDArray[np.float64]

# Real images the control pictures are made from.
_POOL = 64


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


def checked(
    audited: Audited,
    aim: Aim,
    readings: Readings,
    values: NDArray[np.intp],
    reach: Array,
    hopeless: NDArray[np.bool_],
    work: Attempts,
) -> list[Equivalent]:
    """Save, read back and compare every finished picture."""
    made = [i for i in range(len(values)) if work.windows[i] is not None and work.finished[i]]
    checks = _round_trip(audited, aim, readings, values, work, made) if made else {}
    result = []
    for i, row in enumerate(work.positions):
        common: dict[str, Any] = {
            "row": int(row),
            "value": int(values[i]),
            "own": int(readings.value[row]),
            "reach": float(reach[i]),
            "steps": int(work.steps[i]),
        }
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
    audited: Audited, aim: Aim, readings: Readings, values: NDArray[np.intp], work: Attempts, made: list[int]
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
    if aim.is_text:
        shows = difference.attribute_score_deg > 0
    else:
        shows = shown_values(seen["picture"].embeddings, aim, readings) == wished
    return {
        i: {
            "reason": _reason(difference, k, bool(shows[k])),
            "shows": bool(shows[k]),
            "pixel_distance": _distance(inside[k], pictures[k]),
            "residual": _distance(starts[k], pictures[k]),
            "difference": difference.at(k),
            "control_difference": control.at(k),
            "logits": seen["picture"].logits[k],
            **{name: data[k] for name, data in files.items()},
        }
        for k, i in enumerate(made)
    }


def _reason(difference: Difference, k: int, shows: bool) -> str:
    """Why a picture is no success; empty when it is one."""
    if not difference.logit[k] <= LOGIT_BOUND:
        return f"the logits moved by up to {difference.logit[k]:.2g} standard deviations, allowed are {LOGIT_BOUND}"
    if not difference.top1_kept[k]:
        return "the predicted class changed"
    return "" if shows else "the vision-language model does not read what was wished for from the picture"


def _pool(audited: Audited, work: Attempts, place: tuple[slice, slice]) -> NDArray[np.uint8]:
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
