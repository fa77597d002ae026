"""One part of the images into the cache, anywhere: an audit of the whole then only reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from singaudit.cache.store import surroundings
from singaudit.classifier.class_names import class_names
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.config import AuditConfig
from singaudit.dataset.sources.table import open_source
from singaudit.errors import ConfigError
from singaudit.language.concepts import all_prompts, class_group, open_vocabulary
from singaudit.machine import arithmetic, torch_device
from singaudit.pipeline.observe import Observer, Progress, check_finite

_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Shard:
    """Part ``number`` (from 1) of ``count``."""

    number: int
    count: int

    def positions(self, images: int, batch: int) -> tuple[int, int]:
        """(first position, position after the last) of its part of ``images``: parts are stretches of the source.

        They begin at whole batches, so that the same images run together whatever the number of parts.
        """
        edges = [min(images, round(images * i / self.count / batch) * batch) for i in (self.number - 1, self.number)]
        return edges[0], images if self.number == self.count else edges[1]


def parse_shard(text: str) -> Shard:
    """A part from ``I/N``. Raises ``ConfigError``."""
    found = _SHARD.fullmatch(text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError(
            f"expected --shard I/N with a part I from 1 to N, got {text[:80]!r}", hint="For example: --shard 1/4."
        )
    return Shard(int(found[1]), int(found[2]))


def fill_cache(config: AuditConfig, shard: Shard, progress: Progress) -> dict[str, Any]:
    """Features and embeddings of one part of the images, and of its part of the texts, into the cache; facts about it.

    What is there already is not computed again: a part may be started twice, killed and started again. Raises
    ``SingauditError``; what was done by then is kept.
    """
    if config.images is None:
        raise ConfigError("expected images to look at", hint="Add --images DIR.")
    if config.cache == "none":
        raise ConfigError("expected a cache to fill, it is turned off", hint="Name its folder: --cache DIR.")
    source = open_source(config.images)
    progress("open the model", 0, 1)
    classifier = open_classifier(config.model, model_options(config), progress)
    progress("open the model", 1, 1)
    observer = Observer(config, classifier, progress)
    count = min(len(source), config.limit or len(source))
    start, end = shard.positions(count, observer.batch_size)
    facts: dict[str, Any] = {
        "shard": f"{shard.number}/{shard.count}",
        "of": count,
        "start": start,
        "end": end,
        "images": 0,
        "duplicates": 0,
        "left_out": [],
    }
    if start < end:
        images = observer.observe("look at the images", source, start=start, limit=end)
        check_finite(classifier, *images.outputs["classifier"])
        facts["images"], facts["duplicates"] = len(images.names), images.duplicates
        facts["left_out"] = [{"name": s.name, "reason": s.reason} for s in images.skipped]
    names = class_names(config, classifier)[0]
    vocabulary = open_vocabulary(config.concepts, config.vlm)
    groups = ((class_group(names),) if len(names) > 1 else ()) + vocabulary.groups
    texts = all_prompts(groups, vocabulary.concepts)[shard.number - 1 :: shard.count]
    observer.encoder.learn(texts, lambda done, total: progress("embed the texts", done, total))
    device = torch_device(config.device)
    return {
        **facts,
        "texts": len(texts),
        "cache": str(observer.cache_folder),
        "computed": observer.computed(),
        "made_by": {**surroundings(), "device": device, "arithmetic": arithmetic(device)},
    }
