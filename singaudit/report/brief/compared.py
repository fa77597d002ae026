"""Several models in one answer: which stands first, what the others ignore that it does not, and what that rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from singaudit.report.brief.ignored import WORDS, Style
from singaudit.report.brief.words import counted, listed, readable
from singaudit.report.result.comparison import ComparedModel, Comparison

_VERDICTS = {
    "pass": "passes its gates",
    "fail": "fails its gates",
    "inconclusive": "came to no conclusion",
    "no gates set": "has no gates",
}
_IGNORED = {"strong": "", "nonlinear": "", "partial": "part of "}
_LONG = 40
"""Characters of a name in a sentence."""
UNTOLD = "cannot tell", "unsure"
"""Word and style of what says nothing."""


@dataclass(frozen=True)
class ComparedAnswer:
    """What is said of a comparison first."""

    word: str
    """Which model stands first, or that none does."""
    clear: bool
    """Whether verdicts or findings tell the models apart."""
    sentence: str
    """Why, in verdicts and findings."""
    ground: str
    """What that rests on, and what it does not."""


def compared_answer(found: Comparison) -> ComparedAnswer:
    """By verdicts, then by what is ignored; scores alone put no model first."""
    models = [found.models[i] for i in found.order]
    names = _names(found)
    first = names[found.order[0]]
    verdicts = [m.verdict for m in models]
    parts = []
    if len(set(verdicts)) > 1:
        parts.append(listed([f"{names[i]} {_VERDICTS.get(found.models[i].verdict, '')}" for i in found.order], 4))
    worst_first = sorted(found.order, key=lambda i: -sum(f.findings[i] == "strong" for f in found.findings_apart))
    parts += [text for i in worst_first if (text := _ignores(found, i, names))]
    clear = bool(parts)
    sentence = "; ".join(parts[:5]) if clear else "All audits found the same, and all gates stand alike"
    alike = f" Found alike: {listed([readable(g) for g in found.findings_alike], 6)}." if found.findings_alike else ""
    return ComparedAnswer(
        f"{first} stands first" if clear and _ahead(models) else "Neither stands first" if len(models) == 2 else
        "None stands first",
        clear,
        f"{sentence}.",
        f"On the same {counted(found.images, 'image')}.{alike} Scores decide nothing here: {found.ranking_note}.",
    )  # fmt: skip


def finding_word(finding: str | None) -> tuple[str, Style | str]:
    """Reader's word and style of a finding, as in the brief."""
    return WORDS.get(finding or "", UNTOLD)


def _ahead(models: Sequence[ComparedModel]) -> bool:
    """Whether less speaks against the first than against the second, by verdict or by what is ignored."""

    def against(m: ComparedModel) -> tuple[bool, int, int]:
        found = list(m.findings.values())
        return m.verdict != "pass", found.count("strong"), found.count("partial") + found.count("nonlinear")

    return against(models[0]) < against(models[1])


def _names(found: Comparison) -> list[str]:
    """Names of the models; numbers behind those that are the same."""
    names = [m.name if len(m.name) <= _LONG else f"{m.name[:_LONG]}…" for m in found.models]
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _ignores(found: Comparison, i: int, names: Sequence[str]) -> str:
    """What model ``i`` ignores and some other does not."""
    groups = [
        f"{_IGNORED[str(f.findings[i])]}{readable(f.group)}" for f in found.findings_apart if f.findings[i] in _IGNORED
    ]
    alone = f", unlike {names[1 - i]}" if len(names) == 2 else ", unlike another"
    return f"{names[i]} ignores {listed(groups)}{alone}" if groups else ""
