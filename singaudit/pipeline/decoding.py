"""Decoded pictures of an audit: what is refused before any work, and what is opened when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from singaudit.config import AuditConfig
from singaudit.errors import ConfigError
from singaudit.machine import torch_device
from singaudit.pipeline.observe import Observed, Progress

if TYPE_CHECKING:
    # Imports torch, which an audit without pictures does not need.
    from singaudit.pictures.audited import Audited
    from singaudit.pictures.decoding.decode import ImageTower
    from singaudit.pictures.decoding.decoded import Decoded
    from singaudit.pictures.decoding.unclip import Pipeline

STAGE = "decode pictures"


@dataclass(frozen=True)
class Decoding:
    """A decoder whose files are checked; what draws is opened when it is needed."""

    pipeline: Pipeline
    tower: ImageTower
    device: str

    def check(self, seen: Observed) -> None:
        """Refuse a decoder of another image space than the vision-language model's. Raises LanguageError."""
        from singaudit.pictures.decoding.decoded import check_same_space

        embeddings = seen.images.outputs["encoder"][0]
        check_same_space(self.tower, seen.source, seen.images.indices, embeddings, seen.encoder.name)

    def decode(
        self, world: Audited, rows: Sequence[int], stop: Callable[[], bool], progress: Progress
    ) -> list[Decoded]:
        """The first images of ``rows``, decoded before and after the null component becomes the mean one."""
        from singaudit.pictures.decoding.decoded import IMAGES, SEEDS, decode_images
        from singaudit.pictures.decoding.unclip import open_decoder

        rows = rows[:IMAGES]
        progress(STAGE, 0, len(rows) * len(SEEDS))
        return decode_images(
            world,
            rows,
            open_decoder(self.pipeline, self.device),
            self.tower,
            stop=stop,
            progress=lambda done, total: progress(STAGE, done, total),
        )


def decoding_of(config: AuditConfig, progress: Progress) -> Decoding | None:
    """What ``--decode`` names, before anything else is opened; None without it. Raises ConfigError, LanguageError."""
    if config.decode is None:
        return None
    if config.images is None or config.pack is not None:
        raise ConfigError(
            "expected --images and a vision-language model with --decode, got "
            + ("a pack, which holds embeddings alone" if config.pack is not None else "no images"),
            hint="The models themselves look at decoded pictures: pass --images and --vlm, or leave --decode out.",
        )
    from singaudit.pictures.decoding.unclip import located, open_tower

    pipeline, device = located(config.decode, progress), torch_device(config.device)
    return Decoding(pipeline, open_tower(pipeline, device), device)
