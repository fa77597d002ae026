"""What generated equivalents show together: success rate, moves beside their controls, and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import wilson
from singaudit.pictures.checked import Equivalent
from singaudit.pictures.decoding.decoded import Decoded
from singaudit.pictures.targets import Aim
from singaudit.pictures.units import LOGIT_BOUND, Units
from singaudit.report.result.base import Statistic
from singaudit.report.result.pictures import DecodingPart, GenerationPart

Array = NDArray[np.float64]

MOVES = 0.8
"""Median null move, in typical null norms, from which the ignored part is said to carry what the pictures change."""
STAYS = 0.3
"""Median null move up to which it is said not to."""
_DRAWS = 1000


def summary(
    made: Sequence[Equivalent],
    units: Units,
    aim: Aim | None,
    asked: int,
    status: Literal["made", "stopped", "none"],
    reason: str,
    seed: int,
    one_image: bool = False,
) -> GenerationPart:
    """Failures are attempts too: the share of success is over all that were tried.

    ``made`` are equivalents of one each, or with ``one_image`` of a single image.
    """
    differences = [e.difference for e in made if e.difference is not None]
    controls = [e.control_difference for e in made if e.control_difference is not None]
    good, n = sum(e.success for e in made), len(made)
    low, high = wilson(good, n)
    move = _median([d.null_move[0] for d in differences], seed)
    success = Statistic(value=good / n, low=low, high=high, n=n) if n else None
    return GenerationPart(
        status=status,
        reason=reason,
        group=aim.group if aim else "",
        toward="" if aim is None else aim.values[0] if aim.is_text else aim.group,
        asked=asked,
        logit_bound=LOGIT_BOUND,
        success=success,
        null_move=move,
        control_null_move=_median([d.null_move[0] for d in controls], seed),
        logit_difference=_median([d.logit[0] for d in differences], seed),
        control_logit_difference=_median([d.logit[0] for d in controls], seed),
        reach=_mean([e.reach for e in made], seed),
        sentence=_sentence(good, n, move, aim, reason, one_image),
    )


def decoding_summary(
    made: Sequence[Decoded], decoder: tuple[str, str | None, str], reason: str, seed: int
) -> DecodingPart:
    """What decoded pictures show together, beside what their noise alone changes; ``reason``: why there are not all.

    ``decoder``: its name, revision and sha256.
    """
    kept = sum(bool(d.difference.top1_kept[0]) for d in made)
    low, high = wilson(kept, len(made))
    moved = _median([d.difference.image_score_deg[0] for d in made], seed)
    noise = _median([d.control_difference.image_score_deg[0] for d in made], seed)
    images = len({d.row for d in made})
    if moved is None or noise is None:
        sentence = f"No picture was decoded: {reason or 'no image can be read any more'}."
    else:
        who = "image" if images == 1 else "images"
        sentence = (
            f"{len(made)} pairs of pictures of {images} {who} were drawn from translated features by {decoder[0]}, "
            "before and after the null component becomes the mean one, with the same noise. Within pairs the "
            f"vision-language model sees a change of {moved.value:.1f}° (median), by other noise alone one of "
            f"{noise.value:.1f}°. They show what the translator reads; the classifier never saw what they are drawn "
            "from, and they do not keep its logits." + (f" Not all were made: {reason}." if reason else "")
        )
    return DecodingPart(
        decoder=decoder[0],
        revision=decoder[1],
        sha256=decoder[2],
        images=images,
        pictures=len(made),
        image_score_deg=moved,
        noise_score_deg=noise,
        top1_kept=Statistic(value=kept / len(made), low=low, high=high, n=len(made)) if made else None,
        sentence=sentence,
    )


def _median(values: Sequence[float], seed: int) -> Statistic | None:
    """Median with its 95 % bootstrap interval."""
    return _bootstrapped(values, seed, np.median)


def _mean(values: Sequence[float], seed: int) -> Statistic | None:
    return _bootstrapped(values, seed, np.mean)


def _bootstrapped(values: Sequence[float], seed: int, statistic: object) -> Statistic | None:
    if not len(values):
        return None
    data = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng([seed, 6]).integers(0, len(data), (_DRAWS, len(data)))
    found = statistic(data[drawn], axis=1)  # type: ignore[operator]
    low, high = np.percentile(found, (2.5, 97.5))
    return Statistic(value=float(statistic(data)), low=float(low), high=float(high), n=len(data))  # type: ignore[operator]


def _sentence(good: int, n: int, move: Statistic | None, aim: Aim | None, reason: str, one_image: bool) -> str:
    """What follows from the pictures, in plain words."""
    if aim is None or not n:
        return f"No equivalent image was generated: {reason}." if reason else "No equivalent image was generated."
    what = f"toward “{aim.values[0]}”" if aim.is_text else f"toward another {aim.group.replace('_', ' ')}"
    who = f"{'attempt' if n == 1 else 'attempts'} gave" if one_image else "image has" if n == 1 else "images have"
    made = f"{good} of {n} {who} an equivalent {what} with the same logits."
    if move is None:
        return f"{made} Observed features leave no room for one."
    if 2 * good < n:
        return f"{made} Too few succeeded to say what the head ignores by them."
    moved = f"the null component moves by {move.value:.2f} typical norms (median)"
    if move.value >= MOVES:
        return f"{made} In them {moved}: what the pictures change is carried by what the head ignores."
    if move.value <= STAYS:
        return f"{made} In them {moved}, hardly at all: what the pictures change is not in what the head ignores."
    return f"{made} In them {moved}: what the head ignores carries part of what the pictures change."
