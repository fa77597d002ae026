"""The --preprocess syntax: keys and values, and what values may be."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from singaudit.errors import ConfigError

_CHOICES: dict[str, tuple[str, ...]] = {
    "mode": ("crop", "squash", "pad"),
    "offset": ("round", "floor"),
    "channels": ("rgb", "bgr", "gray"),
    "layout": ("nchw", "nhwc"),
    "interpolation": ("nearest", "bilinear", "bicubic", "lanczos"),
}
_KEYS = ("size", "mode", "crop", "offset", "fill", "mean", "std", "scale", "channels", "layout", "interpolation")
_EXAMPLES = {
    "size": "for example size=224, or height x width: size=48x192",
    "crop": "for example crop=0.875: the input's sides over the resized ones; above 1 images are surrounded",
    "fill": "for example fill=mean, or red/green/blue from 0 to 255: fill=124/116/104",
    "mean": "for example mean=0.485/0.456/0.406, or one number for all channels: mean=0.5",
    "std": "for example std=0.229/0.224/0.225, or one number for all channels: std=0.5",
    "scale": "for example scale=1/255, or scale=1 for models that take 0-255",
}
_LARGEST_SIDE = 8192
"""Pixels; a side above this is a typing error or an attempt on the machine's memory."""


def parse_preprocess(text: str) -> dict[str, Any]:
    """The keys and values of a ``--preprocess`` string such as ``size=224,mean=0.5,std=0.5``.

    Returns a dict that holds only the keys that were stated: ``size`` (height, width), ``crop`` and ``scale``
    floats, ``fill`` "mean" or three whole numbers, ``mean`` and ``std`` tuples of one or three floats, the others one
    of their words.
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
                hint="For example size=224,mean=0.485/0.456/0.406,std=0.229/0.224/0.225",
            )
        if key not in _KEYS:
            near = difflib.get_close_matches(key.lower(), _KEYS, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"--preprocess: unknown key {key!r}; expected one of {', '.join(_KEYS)}",
                hint=f"The nearest known key is {near!r}",
            )
        if key in found:
            raise ConfigError(f"--preprocess: {key} is given twice", hint=f"Keep one {key}=")
        found[key] = _value(key, value)
    return found


def format_preprocess(keys: Mapping[str, Any]) -> str:
    """The ``--preprocess`` string of some keys: what :func:`parse_preprocess` reads back as they are."""

    def text(value: Any) -> str:
        return repr(float(value)) if isinstance(value, float | int) else str(value)

    found = {key: "/".join(map(text, keys[key])) for key in ("mean", "std") if key in keys}
    if "fill" in keys:
        found["fill"] = keys["fill"] if keys["fill"] == "mean" else "/".join(map(str, keys["fill"]))
    if "size" in keys:
        found["size"] = "x".join(map(str, keys["size"]))
    found.update({key: text(keys[key]) for key in _KEYS if key in keys and key not in ("mean", "std", "size", "fill")})
    return ",".join(f"{key}={value}" for key, value in found.items())


def _value(key: str, value: str) -> Any:
    if key in _CHOICES:
        word = value.lower()
        if word not in _CHOICES[key]:
            near = difflib.get_close_matches(word, _CHOICES[key], n=1)
            raise ConfigError(
                f"--preprocess: {key} expected {'|'.join(_CHOICES[key])}, got {value!r}",
                hint=f"Did you mean {key}={near[0]}?" if near else f"For example {key}={_CHOICES[key][0]}",
            )
        return word
    if key == "size":
        return _size(value)
    if key == "fill":
        return value if value == "mean" else check_fill(_number(key, piece) for piece in value.split("/"))
    if key in ("mean", "std"):
        numbers = tuple(_number(key, piece) for piece in value.split("/"))
        return check_channel_numbers(key, numbers)
    return check_factor(key, _fraction(value) if key == "scale" else _number(key, value))


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


def check_fill(numbers: Iterable[float]) -> tuple[int, int, int]:
    """A colour (red, green, blue) of whole numbers from 0 to 255; one number means a grey. ConfigError otherwise."""
    found = [int(number) for number in numbers if number == int(number) and 0 <= number <= 255]
    if len(found) == 1:
        found *= 3
    if len(found) != 3:
        raise ConfigError(
            "--preprocess: fill expected 1 or 3 whole numbers from 0 to 255 joined by /", hint=_EXAMPLES["fill"]
        )
    return found[0], found[1], found[2]


def check_factor(key: str, number: float) -> float:
    """``crop`` or ``scale`` within what they may be; ConfigError otherwise."""
    if key == "crop" and not 0.05 <= number <= 20:
        raise ConfigError(
            f"--preprocess: crop expected a share between 0.05 and 20, got {number:g}", hint=_EXAMPLES["crop"]
        )
    if key == "scale" and not 1e-12 < abs(number) < 1e12:
        raise ConfigError(
            f"--preprocess: scale expected a factor such as 1/255 or 1, got {number:g}", hint=_EXAMPLES["scale"]
        )
    return number
