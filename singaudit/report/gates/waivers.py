"""Waivers: a failed gate that somebody answers for until a date; never one that could not be decided."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Literal, get_args

from singaudit.config import Waiver
from singaudit.report.pages.text import shorten
from singaudit.report.result.findings import GatePart
from singaudit.report.result.waivers import WaiverPart

Status = Literal["applied", "not needed", "undecided", "expired", "other model", "unmatched"]
WARNED: tuple[Status, ...] = ("undecided", "expired", "other model", "unmatched")
"""What a reader must be told of: the waiver does not do what somebody wrote it for."""
assert set(WARNED) < set(get_args(Status))


def waive(
    gates: Sequence[GatePart], waivers: Sequence[Waiver], sha256: str, today: date
) -> tuple[list[GatePart], list[WaiverPart]]:
    """The gates with the failed ones that are waived, and what became of every waiver.

    ``sha256`` is the model's; ``today`` decides what has expired and nothing else.
    """
    out = list(gates)
    parts = []
    for waiver in waivers:
        matched = [i for i, gate in enumerate(gates) if _names(waiver.gate, gate)]
        status = _status(waiver, [gates[i].status for i in matched], sha256, today)
        for i in matched:
            if out[i].status == "fail" and status == "applied":
                reason = shorten(f"waived until {waiver.until}: {waiver.reason}; {out[i].reason}", 4000)
                out[i] = out[i].model_copy(update={"status": "waived", "reason": reason})
            elif out[i].status == "fail" and status == "expired":
                reason = shorten(f"{out[i].reason}; its waiver expired on {waiver.until}", 4000)
                out[i] = out[i].model_copy(update={"reason": reason})
        parts.append(
            WaiverPart(
                gate=waiver.gate,
                until=waiver.until.isoformat(),
                reason=waiver.reason,
                model=waiver.model,
                status=status,
                sentence=_sentence(waiver, status),
            )
        )
    return out, parts


def _names(wanted: str, gate: GatePart) -> bool:
    """Whether a waiver's ``gate`` is this one's name, or its rule with blanks where its writer likes them."""
    return wanted.strip() == (gate.name or "").strip() or "".join(wanted.split()) == "".join(gate.rule.split())


def _status(waiver: Waiver, matched: Sequence[str], sha256: str, today: date) -> Status:
    if not matched:
        return "unmatched"
    if waiver.model is not None and waiver.model.removeprefix("sha256:") != sha256:
        return "other model"
    if waiver.until < today:
        return "expired"
    if "fail" in matched:
        return "applied"
    return "undecided" if "inconclusive" in matched else "not needed"


def _sentence(waiver: Waiver, status: Status) -> str:
    gate = f"the waiver of {shorten(waiver.gate, 300)!r}"
    return {
        "applied": f"{gate} holds until {waiver.until}",
        "not needed": f"{gate} is not needed: the gate passes; take it out",
        "undecided": f"{gate} changes nothing: the gate is inconclusive, which is never waived",
        "expired": f"{gate} expired on {waiver.until}: the gate counts again",
        "other model": f"{gate} is for another model ({shorten(waiver.model or '', 20)}) and changes nothing",
        "unmatched": f"{gate} matches no gate: correct its name or take it out",
    }[status]
