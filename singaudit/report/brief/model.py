"""What a brief holds: plain texts and numbers, chosen once, so that everything that shows them says the same.

No text is escaped or coloured here; names come from a result and are as hostile as the result is.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_PLACE = re.compile(r"[A-Z]+_[A-Z]+|PHOTOS|LABELS\.csv")
State = Literal["ok", "amber", "red"]
Status = Literal["pass", "fail", "inconclusive", "no gates set"]
MAX_ROWS = 6
"""Rows of findings; the rest are counted."""
MAX_STEPS = 3
"""Things to do next."""


@dataclass(frozen=True)
class Mark:
    """One of the four things an audit measures with, and whether it can be relied on."""

    name: str
    """Language model, images, translator or shadow copy."""
    state: State
    """ok; amber: something is doubtful; red: nothing that rests on it can be relied on."""
    text: str
    """What was measured of it, in a few words."""
    doubtful: str
    """What an amber or red mark makes doubtful; empty where it is ok."""


@dataclass(frozen=True)
class Bar:
    """The number that a finding is decided by, a share of 0 to 1."""

    value: float
    """Cut to 0 to 1."""
    low: float
    """Lower end of its 95 % interval, cut to 0 to 1."""
    high: float
    """Upper end, cut to 0 to 1."""
    text: str
    """Value and interval; a share above 1 or below 0 in words."""
    measure: str
    """What the number is a share of."""


@dataclass(frozen=True)
class Row:
    """What was found about one concept group."""

    group: str
    """The group as result.json names it."""
    name: str
    """The same for reading."""
    finding: str
    """The finding in the result's and the gates' word, e.g. strong."""
    word: str
    """The finding in a reader's word, e.g. ignored."""
    style: Literal["bad", "warn", "plain", "good"]
    """How grave it is."""
    sentence: str
    """What it means, one plain sentence."""
    bar: Bar | None
    """None where the result holds no such number."""


@dataclass(frozen=True)
class Untold:
    """Groups of which nothing can be said, for one reason."""

    groups: tuple[str, ...]
    """Their names for reading."""
    reason: str
    """Why, the subject left out: "the language model does not read them"."""
    help: str
    """What would help; empty where nothing would."""


@dataclass(frozen=True)
class Picture:
    """Two pictures side by side, the most telling of the result."""

    kind: str
    """refined, natural pair, decoded, neighbour as in the result's pictures; retrieved: from the gallery."""
    same_logits: bool
    """The two have the same logits, within what counts as that; a retrieved neighbour need not."""
    title: str
    """A few words, e.g. "Same logits, another colour"."""
    caption: str
    """What is to be seen and how far the logits are apart, one or two sentences."""
    left: str
    """The image, PNG or JPEG as a data URI."""
    right: str
    """Its counterpart."""
    left_name: str
    """Alternative text of the left one."""
    right_name: str
    """Alternative text of the right one."""
    right_label: str
    """What the right one is, in a word or three."""
    file: str | None
    """The right picture below the output folder, where it was written."""
    original_file: str | None
    """The left one, where it was written."""


@dataclass(frozen=True)
class Step:
    """One thing to do next."""

    why: str
    """What it is good for, one sentence."""
    command: str
    """A shell command; words in capitals stand for what only the reader knows."""

    @property
    def words(self) -> tuple[str, ...]:
        """The command's words, each quoted for the shell: where a line may break."""
        return tuple(map(shlex.quote, shlex.split(self.command)))

    @property
    def to_fill_in(self) -> bool:
        """Whether a word stands for what only the reader knows."""
        return any(_PLACE.fullmatch(word) for word in shlex.split(self.command))


@dataclass(frozen=True)
class Brief:
    """What a release manager reads in a minute."""

    model: str
    """The model's name."""
    facts: tuple[str, ...]
    """Classes, images, accuracy: a few words each."""
    status: Status
    """The verdict in the result's word."""
    word: str
    """The same for reading."""
    sentence: str
    """May it ship, and what is ignored: of the model, not of the rule."""
    certainty: str
    """How sure that is and what follows, one or two sentences."""
    marks: tuple[Mark, ...]
    """Language model, images, translator, shadow copy, in this order; empty where no images were given."""
    rows: tuple[Row, ...]
    """At most ``MAX_ROWS``, the worst first."""
    rest: tuple[str, ...]
    """The words of the findings that are not among the rows, in their order."""
    untold: tuple[Untold, ...]
    """What cannot be told, grouped by reason."""
    picture: Picture | None
    """None where there is none to show."""
    steps: tuple[Step, ...]
    """At most ``MAX_STEPS``."""
    notes: tuple[str, ...] = ()
    """What else must be said up front, e.g. waived gates; a sentence each."""

    @property
    def more(self) -> str:
        """What else was found and is not among the rows, counted; empty where nothing is."""
        return counted_words(self.rest)

    @property
    def untold_line(self) -> str:
        """Everything that cannot be told, in one line; empty where there is nothing."""
        if not self.untold:
            return ""
        return self._untold([f"{_some(u.groups)}: {_why(u)}" for u in self.untold])

    def untold_counts(self, reasons: int) -> str:
        """The same with numbers in the place of names and the commonest ``reasons`` alone, where there is no room."""
        parts = [f"{len(u.groups)}: {_why(u)}" for u in self.untold[:reasons]]
        left = sum(len(u.groups) for u in self.untold[reasons:])
        return self._untold([*parts, f"{left} for other reasons"] if left else parts)

    def _untold(self, parts: Sequence[str]) -> str:
        count = sum(len(u.groups) for u in self.untold)
        return f"Cannot be told for {count} {'group' if count == 1 else 'groups'} \u2013 {'; '.join(parts)}."


def counted_words(words: Sequence[str]) -> str:
    """How many findings there are more, by their words; empty without any."""
    counts = Counter(words)
    if len(counts) < 2:
        return "".join(f"{count} more: {word}" for word, count in counts.items())
    return f"{len(words)} more: {'; '.join(f'{count} {word}' for word, count in counts.items())}"


def _why(untold: Untold) -> str:
    return f"{untold.reason} ({untold.help})" if untold.help else untold.reason


def _some(names: tuple[str, ...], limit: int = 3) -> str:
    """The first few names and how many more there are."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
