"""How images become inputs: the --preprocess syntax, and who states what. The arithmetic is in ``pixels``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from singaudit.classifier.interface import Preprocessing
from singaudit.classifier.pixels import prepare as prepare
from singaudit.errors import ConfigError, ModelError

_CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("crop", "squash", "pad"),
    "channels": ("rgb", "bgr", "gray"),
    "layout": ("nchw", "nhwc"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
}
_KEYS = ("size", "mode", "crop", "mean", "std", "scale", "channels", "layout", "interpolation")
_EXAMPLES = {
    "size": "for example size=224, or height x width: size=48x192",
    "crop": "for example crop=0.875: the share of the resized short side that is kept",
    "mean": "for example mean=0.485/0.456/0.406, or one number for all channels: mean=0.5",
    "std": "for example std=0.229/0.224/0.225, or one number for all channels: std=0.5",
    "scale": "for example scale=1/255, or scale=1 for models that take 0-255",
}
_LARGEST_SIDE = 8192
"""Pixels; a side above this is a typing error or an attempt on the machine's memory."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def parse_preprocess(text: str) -> dict[str, Any]:
    """The keys and values of a ``--preprocess`` string such as ``size=224,mean=0.5,std=0.5``.

    Returns a dict that holds only the keys that were stated: ``size`` (height, width), ``crop`` and ``scale``
    floats, ``mean`` and ``std`` tuples of one or three floats, the others one of their words.
    Raises ConfigError naming the key for anything unknown, repeated, not finite, or out of range.
    """
    found: dict[str, Any] = {}
    for item in (part.strip() for part in text.split(",")):
        if not item:
            continue
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals:
            raise ConfigError(
                f"--preprocess: expected key=value, got {item!r}",
                hint="for example size=224,mean=0.485/0.456/0.406,std=0.229/0.224/0.225",
            )
        if key not in _KEYS:
            near = difflib.get_close_matches(key.lower(), _KEYS, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"--preprocess: unknown key {key!r}; expected one of {', '.join(_KEYS)}",
                hint=f"the nearest known key is {near!r}",
            )
        if key in found:
            raise ConfigError(f"--preprocess: {key} is given twice", hint=f"keep one {key}=")
        found[key] = _value(key, value)
    return found


def format_preprocess(keys: Mapping[str, Any]) -> str:
    """The ``--preprocess`` string of some keys: what :func:`parse_preprocess` reads back as they are."""

    def text(value: Any) -> str:
        return repr(float(value)) if isinstance(value, float | int) else str(value)

    found = {key: "/".join(map(text, keys[key])) for key in ("mean", "std") if key in keys}
    if "size" in keys:
        found["size"] = "x".join(map(str, keys["size"]))
    found.update({key: text(keys[key]) for key in _KEYS if key in keys and key not in ("mean", "std", "size")})
    return ",".join(f"{key}={value}" for key, value in found.items())


def _value(key: str, value: str) -> Any:
    if key in _CHOICES:
        word = value.lower()
        if word not in _CHOICES[key]:
            near = difflib.get_close_matches(word, _CHOICES[key], n=1)
            raise ConfigError(
                f"--preprocess: {key} expected {'|'.join(_CHOICES[key])}, got {value!r}",
                hint=f"did you mean {key}={near[0]}?" if near else f"for example {key}={_CHOICES[key][0]}",
            )
        return word
    if key == "size":
        return _size(value)
    if key in ("mean", "std"):
        numbers = tuple(_number(key, piece) for piece in value.split("/"))
        return check_channel_numbers(key, numbers)
    return _check_factor(key, _fraction(value) if key == "scale" else _number(key, value))


def _number(key: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"--preprocess: {key} expected finite numbers, got {text!r}", hint=_EXAMPLES[key])
    return number


def _fraction(text: str) -> float:
    top, slash, bottom = text.partition("/")
    below = _number("scale", bottom) if slash else 1.0
    if below == 0:
        raise ConfigError(f"--preprocess: scale expected a number or fraction, got {text!r}", hint=_EXAMPLES["scale"])
    return _number("scale", top) / below


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) <= 6 for side in sides):
        raise ConfigError(f"--preprocess: size expected pixels or height x width, got {text!r}", hint=_EXAMPLES["size"])
    return check_size(int(sides[0]), int(sides[-1]))


def check_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) in pixels, both within 1 to 8192; ConfigError otherwise."""
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise ConfigError(
            f"--preprocess: size expected sides of 1 to {_LARGEST_SIDE} pixels, got {height}x{width}",
            hint=_EXAMPLES["size"],
        )
    return height, width


def check_channel_numbers(key: str, numbers: Sequence[float]) -> tuple[float, ...]:
    """``mean`` or ``std`` as one or three finite floats, std without zeros; ConfigError otherwise."""
    if len(numbers) not in (1, 3):
        raise ConfigError(
            f"--preprocess: {key} expected 1 or 3 numbers joined by /, got {len(numbers)}", hint=_EXAMPLES[key]
        )
    if not all(math.isfinite(number) for number in numbers):
        raise ConfigError(f"--preprocess: {key} expected finite numbers, got {numbers}", hint=_EXAMPLES[key])
    if key == "std" and not all(number > 1e-12 for number in numbers):
        raise ConfigError(f"--preprocess: std expected numbers above zero, got {numbers}", hint=_EXAMPLES["std"])
    return tuple(float(number) for number in numbers)


def _check_factor(key: str, number: float) -> float:
    if key == "crop" and not 0.05 <= number <= 1:
        raise ConfigError(
            f"--preprocess: crop expected a share between 0.05 and 1, got {number:g}", hint=_EXAMPLES["crop"]
        )
    if key == "scale" and not 1e-12 < abs(number) < 1e12:
        raise ConfigError(
            f"--preprocess: scale expected a factor such as 1/255 or 1, got {number:g}", hint=_EXAMPLES["scale"]
        )
    return number


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
    arithmetic: the keys left out then take their documented defaults (mode crop, crop 0.875, bilinear, rgb;
    scale 1/255, mean 0, std 1) and are not guesses; a mean above 1 implies ``scale`` 1. Otherwise every key that
    nobody stated is listed in ``guessed``.

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
    sources = [name for name, keys in (("--preprocess", stated), (metadata_source, metadata)) if keys]
    return Preprocessing(
        height=height,
        width=width,
        mode=known.get("mode", "crop"),
        crop=known.get("crop", 0.875),
        interpolation=known.get("interpolation", "bilinear"),
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
                    hint=f"leave {key}= out",
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
                    hint=f"give one, such as {key}=0.5",
                )
        mean, std = mean[:1], std[:1]
    scale = known.get("scale", 1.0 if max(abs(number) for number in mean) > 1 else 1 / 255)
    return {"scale": scale, "mean": mean, "std": std}


def _layout(wanted: str | None, shape: Sequence[int | None]) -> tuple[str, int | None, bool]:
    """(layout, channels or None where free, whether it is known)."""
    if len(shape) != 4:
        raise ModelError(
            f"expected an image input of 4 axes (batch, channels, height, width), got shape {list(shape)}",
            hint="export the classifier with a batch of images as its only input",
        )
    fits = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] in (1, 3, None)]
    sure = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if shape[axis] in (1, 3)]
    if wanted is not None and wanted not in fits:
        raise ConfigError(
            f"--preprocess: layout={wanted} does not fit the model's input {list(shape)}", hint="leave layout= out"
        )
    if not fits:
        raise ModelError(
            f"expected an image input with 1 or 3 channels, got shape {list(shape)}",
            hint="singaudit audits classifiers of colour or gray images",
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
                    hint="leave size= out; a fixed input needs none",
                )
    wanted = stated or metadata or (None, None)
    height, width = (have or want for have, want in zip(axes, wanted, strict=True))
    if height is None or width is None:
        raise ModelError(
            f"the model's input {list(shape)} leaves height or width free, and nothing states them",
            hint="add --preprocess size=224 (or size=HEIGHTxWIDTH), the size it was trained with",
        )
    return check_size(height, width)


def _channels(stated: str | None, known: str | None, count: int | None) -> str:
    if count == 1:
        if stated not in (None, "gray"):
            raise ConfigError(
                f"--preprocess: channels={stated} does not fit a model whose input has 1 channel",
                hint="leave channels= out, or say channels=gray",
            )
        return "gray"
    if count == 3 and known == "gray":
        if stated == "gray":
            raise ConfigError(
                "--preprocess: channels=gray does not fit a model whose input has 3 channels",
                hint="say channels=rgb or channels=bgr",
            )
        return "rgb"
    return known or "rgb"
