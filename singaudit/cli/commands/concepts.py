"""singaudit concepts check: which groups and values a language model reads on these images, before an audit."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from singaudit.cli.commands.run import config_from
from singaudit.cli.terminal import Reporter, console, safe
from singaudit.errors import ConfigError
from singaudit.pipeline.passes.read_concepts import GroupRead, read_concepts


def check(settings: dict[str, Any]) -> dict[str, Any]:
    """Read every group of the concept file. Raises ``SingauditError``."""
    config = config_from({**settings, "model": "none", "concepts": settings["file"]})
    if config.images is None:
        raise ConfigError("expected images to read the concepts on", hint="Add --images DIR.")
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as reporter:
        found = read_concepts(config, reporter)
    return {
        "encoder": found.encoder,
        "images": found.images,
        "groups": [_facts(group) for group in found.groups],
    }


def _facts(read: GroupRead) -> dict[str, Any]:
    return {
        "group": read.group.name,
        "readable": not read.reason,
        "reason": read.reason,
        "basis": read.basis,
        "score": asdict(read.score) if read.score is not None else None,
        "values": [
            {"value": value, "images": images, "judged": place in read.judged}
            for place, (value, images) in enumerate(zip(read.group.values, read.images, strict=True))
        ],
    }


def show(facts: dict[str, Any]) -> None:
    """Print what can be read for a person."""
    out = console(sys.stdout)
    readable = sum(group["readable"] for group in facts["groups"])
    out.print(
        f"{safe(facts['encoder'])} reads {readable} of {len(facts['groups'])} groups on {facts['images']:,} images"
    )
    for group in facts["groups"]:
        score = group["score"]
        told = "" if score is None else f" {score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}]"
        out.print(f"{'✓' if group['readable'] else '✗'} {safe(group['group'], 40)}{told}, by {group['basis']}")
        if group["reason"]:
            out.print(f"    {safe(group['reason'], 300)}")
        left = [value["value"] for value in group["values"] if not value["judged"]]
        if left:
            out.print(f"    in too few images to be judged: {safe(', '.join(left), 300)}")
