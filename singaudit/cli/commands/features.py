"""singaudit features: one part of the images into the cache, on any machine that a scheduler starts."""

from __future__ import annotations

from typing import Any

from singaudit.cli.commands.run import config_from
from singaudit.cli.terminal import Reporter, safe
from singaudit.pipeline.passes.features import fill_cache, parse_shard


def fill(settings: dict[str, Any]) -> dict[str, Any]:
    """Fill the cache and return facts about it. Raises ``SingauditError``."""
    shard, config = parse_shard(settings["shard"]), config_from(settings)
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as reporter:
        return fill_cache(config, shard, reporter)


def show(facts: dict[str, Any]) -> None:
    """Print the facts of ``fill`` for people."""
    computed = facts["computed"]
    print(
        f"part {facts['shard']}: positions {facts['start']} to {facts['end']} of {facts['of']}, "
        f"{facts['images']} images and {facts['texts']} texts are in {safe(facts['cache'], 4096)}; computed now: "
        + ", ".join(f"{n} of {safe(kind)}" for kind, n in computed.items())
    )
    if facts["left_out"]:
        first = facts["left_out"][0]
        print(f"  {len(facts['left_out'])} were left out; the first: {safe(first['name'])} {safe(first['reason'])}")
