"""Which registered architectures a set of weights may belong to, by the names and shapes of its tensors alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor by its name in the state dict."""
_COUNTERS = "num_batches_tracked"


def body_signature(shapes: Shapes, heads: Sequence[str]) -> str:
    """16 hex digits over names and shapes of all tensors but those of the modules ``heads`` (and batch counters).

    Two networks with equal signatures differ at most in their number of classes and in what has no weights.
    """
    own = tuple(f"{head}." for head in heads)
    lines = sorted(
        f"{name}:{','.join(map(str, shape))}"
        for name, shape in shapes.items()
        if not name.startswith(own) and not name.endswith(_COUNTERS)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def fitting(shapes: Shapes) -> tuple[str, ...]:
    """Names such as "timm:resnet18" whose body has these shapes and whose head has its tensors; sorted."""
    heads, bodies = _index()
    found: set[str] = set()
    for modules in heads:
        if all(f"{module}.weight" in shapes for module in modules):
            found.update(bodies.get(body_signature(shapes, modules), ()))
    return tuple(sorted(found))


def same_body(shapes: Shapes) -> tuple[str, ...]:
    """Names of the architectures whose body has exactly these shapes; sorted."""
    return tuple(sorted(_index()[1].get(body_signature(shapes, ()), ())))


def index_text(entries: Iterable[tuple[str, Sequence[str], str]]) -> str:
    """The index as JSON from (name, modules of its head, signature of its body)."""
    heads: set[tuple[str, ...]] = set()
    bodies: dict[str, list[str]] = {}
    for name, modules, signature in entries:
        heads.add(tuple(modules))
        bodies.setdefault(signature, []).append(name)
    document = {"heads": sorted(map(list, heads)), "bodies": {key: sorted(bodies[key]) for key in sorted(bodies)}}
    return json.dumps(document, indent=0) + "\n"


@cache
def _index() -> tuple[tuple[tuple[str, ...], ...], dict[str, list[str]]]:
    """Made by ``examples/architectures/index.py`` from the architectures that timm and torchvision register."""
    text = (resources.files("singaudit") / "classifier" / "convert" / "architectures.json").read_text(encoding="utf-8")
    document = json.loads(text)
    return tuple(map(tuple, document["heads"])), document["bodies"]
