"""How images become inputs: who states what, and what follows. The arithmetic is in ``pixels``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from singaudit.classifier.interface import Preprocessing
from singaudit.classifier.preprocessing.pixels import prepare as prepare
from singaudit.classifier.preprocessing.syntax import check_size
from singaudit.errors import ConfigError, ModelError

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def resolve_preprocessing(
    stated: Mapping[str, Any] | None,
    metadata: Mapping[str, Any],
    input_shape: Sequence[int | None],
    input_dtype: str,
    *,
    metadata_source: str = "the file's metadata",
) -> Preprocessing:
    """What ``--preprocess`` says, else the file's metadata, else the graph's input, else a guess.

    ``stated`` and ``metadata`` have the keys of :func:`parse_preprocess`; ``input_shape`` has four axes, None
    where an axis is free; ``input_dtype`` is "float32", "float16" or "uint8". Layout, a single gray channel and
    a fixed size are facts of the graph. Whoever states ``mean`` and ``std``, or ``scale``, states the
    arithmetic: the keys left out then take their documented defaults (mode crop, crop 0.875, of squash and pad 1,
    offset round, fill black, bilinear, rgb; scale 1/255, mean 0, std 1) and are not guesses; a mean above 1 implies
    ``scale`` 1. Otherwise every key that nobody stated is in ``guessed``, as are those that ``metadata`` lists under
    "guesses".

    Raises ConfigError where a statement contradicts the graph, ModelError for inputs that are not images and
    for a free height or width that nobody states.
    """
    stated = dict(stated or {})
    known = {**metadata, **stated}
    layout, channel_count, layout_known = _layout(known.get("layout"), input_shape)
    height, width = _resolve_size(stated.get("size"), metadata.get("size"), input_shape, layout)
    guessed: list[str] = [] if layout_known else ["layout"]
    channels = _channels(stated.get("channels"), known.get("channels"), channel_count)
    arithmetic = _arithmetic(stated, known, input_dtype, channels)
    complete = arithmetic is not None and bool(known)
    if arithmetic is None:
        arithmetic = {
            "scale": 1 / 255,
            "mean": (0.0,) if channels == "gray" else known.get("mean", _IMAGENET_MEAN),
            "std": (1.0,) if channels == "gray" else known.get("std", _IMAGENET_STD),
        }
        guessed += [key for key in ("scale", "mean", "std") if key not in known]
    if not complete:
        guessed += [key for key in ("mode", "crop", "interpolation") if key not in known]
        if channels == "rgb" and "channels" not in known:
            guessed.append("channels")
    guessed += [key for key in metadata.get("guesses", ()) if key not in stated]
    fill = known.get("fill", (0, 0, 0))
    sources = [name for name, keys in (("--preprocess", stated), (metadata_source, metadata)) if keys]
    return Preprocessing(
        height=height,
        width=width,
        mode=known.get("mode", "crop"),
        crop=known.get("crop", 0.875 if known.get("mode", "crop") == "crop" else 1.0),
        offset=known.get("offset", "round"),
        interpolation=known.get("interpolation", "bilinear"),
        fill=_mean_colour(arithmetic, channels) if fill == "mean" else fill,
        channels=channels,  # type: ignore[arg-type]
        layout=layout,  # type: ignore[arg-type]
        dtype=input_dtype,  # type: ignore[arg-type]
        source=" and ".join(sources) if sources else "a guess from the graph's input",
        guessed=tuple(guessed),
        **arithmetic,
    )


def _arithmetic(
    stated: Mapping[str, Any], known: Mapping[str, Any], dtype: str, channels: str
) -> dict[str, Any] | None:
    """Scale, mean and std where they are known, else None."""
    if dtype == "uint8":
        neutral: dict[str, Any] = {"scale": 1.0, "mean": (0.0,), "std": (1.0,)}
        for key, value in neutral.items():
            if key in stated and not np.allclose(stated[key], value):
                raise ConfigError(
                    f"--preprocess: {key} cannot change a model whose input is uint8 (it takes 0-255 as they are)",
                    hint=f"Leave {key}= out",
                )
        return neutral
    if not ("mean" in known and "std" in known) and "scale" not in known:
        return None
    mean, std = known.get("mean", (0.0,)), known.get("std", (1.0,))
    if channels == "gray":
        for key, numbers in (("mean", mean), ("std", std)):
            if len(numbers) != 1 and len(set(numbers)) != 1:
                raise ConfigError(
                    f"--preprocess: {key} expected 1 number for a gray input, got {len(numbers)}",
                    hint=f"Give one, such as {key}=0.5",
                )
        mean, std = mean[:1], std[:1]
    scale = known.get("scale", 1.0 if max(abs(number) for number in mean) > 1 else 1 / 255)
    return {"scale": scale, "mean": mean, "std": std}


def _mean_colour(arithmetic: Mapping[str, Any], channels: str) -> tuple[int, int, int]:
    """The RGB pixel nearest to the mean, which becomes about 0."""
    mean = (*arithmetic["mean"], *arithmetic["mean"], *arithmetic["mean"])[:3]
    red, green, blue = (min(255, max(0, round(value / arithmetic["scale"]))) for value in mean)
    return (blue, green, red) if channels == "bgr" else (red, green, blue)


def _layout(wanted: str | None, shape: Sequence[int | None]) -> tuple[str, int | None, bool]:
    """(layout, channels or None where free, whether it is known)."""
    if len(shape) != 4:
        raise ModelError(
            f"expected an image input of 4 axes (batch, channels, height, width), got shape {list(shape)}",
            hint="Export the classifier with a batch of images as its only input",
        )
    fits = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] in (1, 3, None)]
    sure = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] in (1, 3)]
    if wanted is not None and wanted not in fits:
        raise ConfigError(
            f"--preprocess: layout={wanted} does not fit the model's input {list(shape)}", hint="Leave layout= out"
        )
    if not fits:
        raise ModelError(
            f"expected an image input with 1 or 3 channels, got shape {list(shape)}",
            hint="Give a classifier of colour or gray images.",
        )
    layout = wanted or (sure or fits)[0]
    return layout, shape[1 if layout == "nchw" else 3], wanted is not None or bool(sure)


def _resolve_size(
    stated: tuple[int, int] | None,
    metadata: tuple[int, int] | None,
    shape: Sequence[int | None],
    layout: str,
) -> tuple[int, int]:
    axes = shape[2:4] if layout == "nchw" else shape[1:3]
    if stated is not None:
        for have, want in zip(axes, stated, strict=True):
            if have is not None and have != want:
                raise ConfigError(
                    f"--preprocess: size={stated[0]}x{stated[1]} does not fit the model's fixed input, "
                    f"height x width {axes[0]}x{axes[1]}",
                    hint="Leave size= out; a fixed input needs none",
                )
    wanted = stated or metadata or (None, None)
    height, width = (have or want for have, want in zip(axes, wanted, strict=True))
    if height is None or width is None:
        raise ModelError(
            f"the model's input {list(shape)} leaves height or width free, and nothing states them",
            hint="Add --preprocess size=224 (or size=HEIGHTxWIDTH), the size it was trained with",
        )
    return check_size(height, width)


def _channels(stated: str | None, known: str | None, count: int | None) -> str:
    if count == 1:
        if stated not in (None, "gray"):
            raise ConfigError(
                f"--preprocess: channels={stated} does not fit a model whose input has 1 channel",
                hint="Leave channels= out, or say channels=gray",
            )
        return "gray"
    if count == 3 and known == "gray":
        if stated == "gray":
            raise ConfigError(
                "--preprocess: channels=gray does not fit a model whose input has 3 channels",
                hint="Say channels=rgb or channels=bgr",
            )
        return "rgb"
    return known or "rgb"
