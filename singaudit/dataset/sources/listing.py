"""What a source that reads encoded images knows of them before the first one is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from singaudit.dataset.columns import TableFile
from singaudit.dataset.decode import UndecodableError, content
from singaudit.dataset.interface import OWN_LABELS, Content, Image, LabelKind, Skipped


@dataclass(frozen=True)
class Listing:
    """An ``ImageSource`` of encoded images: their names, what is known of them, and how to get at their bytes."""

    name: str
    """As the user named it."""
    names: Sequence[str]
    """(n,) the name of each image."""
    fetch: Callable[[int], bytes]
    """Position -> encoded bytes; raises ``UndecodableError`` for what cannot be read. Safe from several threads."""
    labels: tuple[str | None, ...] | None = None
    """(n,) or None."""
    label_kind: LabelKind = "folders"
    """Where the labels stand."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Further values, (n,) texts by column name."""
    left_out: tuple[Skipped, ...] = ()
    """Found while listing, and never an image."""
    labels_from: str = OWN_LABELS
    """Where the labels stand, in words."""
    tables: tuple[TableFile, ...] = ()
    """Text files that say which images there are, or what they show, as they were read."""

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Content | Skipped:
        """The bytes' hash and how to decode them; whatever is wrong becomes a ``Skipped``."""
        name = self.names[index]
        try:
            return content(name, self.fetch(index))
        except UndecodableError as error:
            return Skipped(name, str(error))

    def load(self, index: int) -> Image | Skipped:
        """Decode one image; whatever is wrong with it becomes a ``Skipped``."""
        found = self.read(index)
        return found.decode() if isinstance(found, Content) else found
