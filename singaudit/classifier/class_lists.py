"""Lists of classes that timm knows, by name: ``timm:imagenet``; and the WordNet synsets they consist of."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from singaudit.errors import ConfigError

PREFIX = "timm:"
_LISTS = (
    "imagenet-1k",
    "imagenet-12k",
    "imagenet-22k",
    "imagenet-21k",
    "imagenet-21k-goog",
    "imagenet-21k-miil",
    "imagenet-22k-ms",
)
_ALIASES = {"imagenet": "imagenet-1k", "in1k": "imagenet-1k", "in12k": "imagenet-12k", "in21k": "imagenet-21k"}
_ALIKE = 0.9
"""Share of class names that must be a list's own for the classes to be taken for that list."""


def timm_class_names(name: str) -> tuple[str, ...]:
    """The class names of ``timm:LIST`` in logit order. Raises ``ConfigError`` naming the lists there are."""
    wanted = name.removeprefix(PREFIX).lower()
    wanted = _ALIASES.get(wanted, wanted)
    if wanted not in _LISTS:
        raise ConfigError(
            f"expected --classes a,b,c, a file, or one of timm's lists, there is no list {name!r}",
            hint=f"Name one: timm:imagenet, or {', '.join(PREFIX + known for known in _LISTS[1:])}.",
        )
    return _list(wanted)[1]


@functools.cache
def _list(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(synsets, names) of a list, in the order of the logits."""
    from singaudit.torchvision_import import import_timm

    import_timm()
    from timm.data import ImageNetInfo

    info = ImageNetInfo(name)
    return tuple(info.label_names()), tuple(map(str, info.label_descriptions()))


def described(labels: Sequence[str]) -> tuple[str, ...] | None:
    """What WordNet calls the synsets ``labels``, "n01440764" -> "tench, Tinca tinca"; None where one is unknown."""
    for name in _LISTS:
        texts = dict(zip(*_list(name), strict=True))
        if all(label in texts for label in labels):
            return tuple(texts[label] for label in labels)
    return None


def synset_positions(class_names: Sequence[str]) -> dict[str, int]:
    """Synset -> class, where the class names are those of a list that timm knows; {} where they are none.

    They are where nine names in ten stand at their place: libraries write "tench" or "tench, Tinca tinca". Names that
    are synsets themselves need no list.
    """
    if not 900 <= len(class_names) <= 30_000:
        return {}
    for name in _LISTS:
        synsets, texts = _list(name)
        if len(synsets) != len(class_names):
            continue
        alike = sum(_first(one) == _first(other) for one, other in zip(class_names, texts, strict=True))
        if alike >= _ALIKE * len(texts):
            return {synset: at for at, synset in enumerate(synsets)}
    return {}


def _first(name: str) -> str:
    """The first of several names for one thing, without letter case, underscores or a number told apart by."""
    return name.partition(",")[0].partition(" (")[0].strip().casefold().replace("_", " ")
