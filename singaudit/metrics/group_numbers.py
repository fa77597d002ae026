"""From sums over images to the numbers of concept groups: estimates with intervals, many groups at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.metrics.intervals import Bootstrap, Estimate, at_least_wilson, estimates_of, narrower_than_an_image
from singaudit.metrics.nonlinear import MAX_ROWS
from singaudit.metrics.probes import normalised_accuracy

Array = NDArray[np.float64]

_Statistic = Callable[[Array], Array]

MOVED = ("margin", "contrast", "reads")
SWAPS = ("follow", "follow_chance")
PROBED = ("probe", "probe_principal", "probe_null")
QUADRATIC = ("quadratic", "quadratic_principal", "quadratic_null")
# Per group: sums over images, each weighted so that values count equally; the last by translators of either half.
EVEN = (
    "weight", "margin_encoder", "readable", "class_knows", *PROBED, "looked", *QUADRATIC, *MOVED,
    *(f"{name}_{half}" for half in (0, 1) for name in MOVED),
)  # fmt: skip
# The same of swaps, summed over the images that take the null component of one.
LENT = ("swapped", *SWAPS, *(f"{name}_{half}" for half in (0, 1) for name in SWAPS))
# With the class taken out.
WITHIN = tuple(f"within_{name}" for name in ("weight", *PROBED, "margin", "contrast", "swapped", *SWAPS))
COLUMNS = (*EVEN, *LENT, *WITHIN)
_AT = {name: i for i, name in enumerate(COLUMNS)}


@dataclass(frozen=True)
class Carried:
    """What one set of translators shows of a group."""

    margin: Estimate
    """margin(T f) of the own value, degrees."""
    margin_share: Estimate
    """margin(T f) over that of the images' own embeddings, resampled jointly."""
    contrast: Estimate
    """margin(T f) - margin(T f~) under mean removal, degrees."""
    carried_share: Estimate
    """Contrast over margin, resampled jointly."""
    follow: Estimate
    """Share of features that are read as the null donor's value, of donors with another one."""
    follow_chance: float
    """The same share with a donor of the image's own value."""
    follow_normalised: Estimate
    """(follow - chance) / (1 - chance)."""
    follow_share: Estimate
    """The same over the normalised accuracy with which T f reads the images' own values: 1 when all that can be read
    follows the null component, however noisy the features are."""


@dataclass(frozen=True)
class BeyondClass:
    """The numbers with the class taken out: values are compared within classes.

    Classes count by how much there is to compare. Value, low, high are NaN where no class shows two values.
    """

    class_knows: Estimate
    """Normalised accuracy with which the class alone tells the value."""
    units: int
    """Units with a value that is not the most frequent of their class."""
    carried_share: Estimate
    """Contrast over margin."""
    margin: Estimate
    """margin(T f), degrees."""
    follow_normalised: Estimate
    """(follow - chance) / (1 - chance) among donors of the image's own class."""
    probe: Estimate
    """Normalised accuracy of a linear probe of f with the class's part taken out."""
    probe_principal: Estimate
    """The same of P_p f."""
    probe_null: Estimate
    """The same of P_n f."""
    probe_gain: Estimate
    """Share of the accuracy from f that P_p f lacks."""


@dataclass(frozen=True)
class GroupMeasure:
    """The numbers of one concept group. Its present values count equally, however many images have them."""

    carried: Carried
    """By the translators."""
    halves: tuple[Carried, Carried]
    """By translators refitted on either half of the data."""
    margin_encoder: Estimate
    """margin of the images' own embeddings, degrees."""
    readable: Estimate
    """The vision-language model's own reading, against labels or between two sets of prompts: 0 chance, 1 perfect."""
    probe: Estimate
    """Normalised accuracy of a linear probe of f: 0 chance, 1 perfect."""
    probe_principal: Estimate
    """The same of P_p f."""
    probe_null: Estimate
    """The same of P_n f."""
    probe_gain: Estimate
    """Probe of f less that of P_p f, over that of f, resampled jointly: the share that the logits do not see at all."""
    beyond: BeyondClass
    """With the class taken out."""
    nonlinear: tuple[Estimate, Estimate, Estimate]
    """Normalised accuracy of quadratic probes of f, of P_p f and of P_n f; NaN where none was tried."""


class Numbers:
    """The numbers of G groups, of sums whose columns are ``COLUMNS``, each G wide, and the weights of all K values.

    Values count equally in the audit, whatever their shares among its images, but not in a draw, in which some happen
    to be drawn more often than others: of columns in ``EVEN`` draws are therefore freed of what differs between values
    (post-stratification to first order; Särndal, Swensson, Wretman, Model Assisted Survey Sampling, chapter 7).
    """

    def __init__(
        self,
        sums: Bootstrap,
        by_value: Array,
        sizes: NDArray[np.intp],
        images: NDArray[np.intp],
        effective: Sequence[float],
        attributes: Sequence[bool],
        within_units: NDArray[np.intp],
    ) -> None:
        """``by_value`` (K, len(EVEN)) means over all images of what the images of each value add to their group's
        columns, ``sizes`` (G,) values judged, ``images`` (G,) that have one, ``effective`` (G,) equally weighted units
        that would say as much, ``attributes`` (G,) whether a nonlinear reading was tried, ``within_units`` (G,) units
        that tell values apart within classes.
        """
        self._images, self._effective = images, effective
        self._means = _evened(*sums.means(), by_value, sizes)
        self._attributes, self._within_units = attributes, within_units
        self._chance: Array = 1 / sizes

    def of_groups(self) -> list[GroupMeasure]:
        """The numbers of every group."""
        found = zip(
            self._carried(""),
            zip(self._carried("_0"), self._carried("_1"), strict=True),
            self._estimates(lambda c: _mean(c, "margin_encoder")),
            self._accuracy("readable"),
            *(self._accuracy(name) for name in PROBED),
            self._estimates(lambda c: _gain(c, "", self._chance)),
            self._beyond(),
            zip(*(self._quadratic(name) for name in QUADRATIC), strict=True),
            strict=True,
        )
        return [GroupMeasure(*one) for one in found]

    def _estimates(self, statistic: _Statistic) -> list[Estimate]:
        return estimates_of(statistic, *self._means, self._images)

    def _accuracy(self, name: str) -> list[Estimate]:
        found = self._estimates(lambda c: normalised_accuracy(_mean(c, name), self._chance))
        return [at_least_wilson(*one) for one in zip(found, self._effective, self._chance, strict=True)]

    def _never_points(self, found: list[Estimate], chances: Sequence[float]) -> list[Estimate]:
        # Paired with its chance, a share may be surer than one of its own: but never a point.
        return [
            at_least_wilson(e, k, c) if narrower_than_an_image(e, k) else e
            for e, k, c in zip(found, self._effective, chances, strict=True)
        ]

    def _carried(self, half: str) -> list[Carried]:
        """By the translators of all the data, or of ``half`` _0 or _1."""

        def margin(c: Array) -> Array:
            return _mean(c, "margin" + half)

        def reads(c: Array) -> Array:
            return normalised_accuracy(_mean(c, "reads" + half), self._chance)

        expected = [e.value for e in self._estimates(lambda c: _mean(c, "follow_chance" + half, "swapped"))]
        follow = self._estimates(lambda c: _mean(c, "follow" + half, "swapped"))
        found = zip(
            self._estimates(margin),
            self._estimates(lambda c: margin(c) / _mean(c, "margin_encoder")),
            self._estimates(lambda c: _mean(c, "contrast" + half)),
            self._estimates(lambda c: _mean(c, "contrast" + half) / margin(c)),
            self._never_points(follow, [0.0] * len(expected)),
            expected,
            self._never_points(self._estimates(lambda c: _follow(c, "", half)), expected),
            self._estimates(lambda c: _follow(c, "", half) / reads(c)),
            strict=True,
        )
        return [Carried(*one) for one in found]

    def _beyond(self) -> list[BeyondClass]:
        def within(name: str) -> list[Estimate]:
            return self._estimates(lambda c: _mean(c, "within_" + name, "within_weight"))

        found = zip(
            self._accuracy("class_knows"),
            self._within_units.tolist(),
            self._estimates(lambda c: _mean(c, "within_contrast", "within_margin")),
            within("margin"),
            self._estimates(lambda c: _follow(c, "within_", "")),
            *(within(name) for name in PROBED),
            self._estimates(lambda c: _gain(c, "within_", 0.0)),
            strict=True,
        )
        return [BeyondClass(*one) for one in found]

    def _quadratic(self, name: str) -> list[Estimate]:
        found = self._estimates(lambda c: normalised_accuracy(_mean(c, name, "looked"), self._chance))
        few = [min(k, MAX_ROWS) for k in self._effective]
        nothing = Estimate(np.nan, np.nan, np.nan, 0)
        return [
            at_least_wilson(*one) if tried else nothing
            for tried, one in zip(self._attributes, zip(found, few, self._chance, strict=True), strict=True)
        ]


def _evened(mean: Array, draws: Array, by_value: Array, sizes: NDArray[np.intp]) -> tuple[Array, Array]:
    """((columns, G), (draws, columns, G)): means of the columns, and draws as if each value were drawn as often."""
    groups, even = len(sizes), len(EVEN)
    shape = len(COLUMNS), groups
    wide = len(COLUMNS) * groups
    weights, draws = draws[:, wide:], draws[:, :wide].reshape(-1, *shape)
    ends = np.cumsum(sizes)
    for g, values in enumerate(slice(end - size, end) for end, size in zip(ends, sizes, strict=True)):
        each = by_value[values]
        draws[:, :even, g] += weights[:, values] @ (each.sum(axis=0) - len(each) * each)
    return mean[:wide].reshape(shape), draws


def _mean(c: Array, name: str, over: str = "weight") -> Array:
    """(..., G) of sums (..., columns, G)."""
    value: Array = c[..., _AT[name], :] / c[..., _AT[over], :]
    return value


def _follow(c: Array, prefix: str, half: str) -> Array:
    """(..., G) null-follow beyond chance, in what chance leaves."""
    hit, by_chance = (_mean(c, f"{prefix}{part}{half}", f"{prefix}swapped") for part in ("follow", "follow_chance"))
    return np.asarray((hit - by_chance) / (1 - by_chance))


def _gain(c: Array, prefix: str, chance: Array | float) -> Array:
    """(..., G) share of the accuracy from f that P_p f lacks."""
    whole, seen = (_mean(c, prefix + name, prefix + "weight") for name in ("probe", "probe_principal"))
    return np.asarray((whole - seen) / (whole - chance))
