"""Results of every outcome an audit can have, and of hostile names, for the formats that machines read."""

from report_factory import full, geometry_only

from singaudit.report.formats.interface import Files, Place
from singaudit.report.formats.writer import render_formats
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.checksum import sealed

TEXTS = [
    "<b>bold</b> & \"quoted\" 'single' ]]> <!-- --> <![CDATA[",
    "control \x00\x01\x08\x0b\x1b[31m\x7f\x85 end",
    "line\r\nbreak\tand tab",
    "emoji 🙂 👩‍👩‍👧 \U0001f1e9\U0001f1ea",
    "\u202egnp.exe\u202c \ufffe\uffff",
    "n" * 10_000,
    "::error file=x::%0Aowned, a:b",
    "| pipe ` tick ``` *star* _under_ [link](https://example.org) @everyone #1 $x$ ~~s~~ \\",
    "../../etc/passwd",
    "{{ 7 * 7 }} ${{ github.token }}",
]


CASE_OF = {
    "pass": "pass",
    "a gate failed": "fail",
    "inconclusive": "undecided",
    "waived": "waived",
    "no gates set": "no gates",
}
"""Outcome, as the guide's table heads it -> case."""


def gate(status: str, rule: str = "scores.attribute_score_deg < 3", name: str | None = None) -> dict:
    return {
        "name": name, "rule": rule, "found": "4.13 [4.01, 4.25], n = 800", "value": 4.13, "low": 4.01, "high": 4.25,
        "n": 800, "limit": "< 3", "status": status, "reason": "the whole interval is on the bad side",
    }  # fmt: skip


def waiver(status: str, gate: str = "colour", reason: str = "the new head is trained by then") -> dict:
    said = f"the waiver of {gate[:300]!r} is {status}"
    return {"gate": gate, "until": "2027-01-31", "reason": reason[:4096], "status": status, "sentence": said}


def with_gates(
    gates: list[dict], verdict: str, base: AuditResult | None = None, sentence: str = "", waivers: tuple = ()
) -> AuditResult:
    plain = (base or full(points=40)).model_dump(mode="json")
    doubts = ["87 images are too few"] if verdict == "inconclusive" else []
    plain |= {
        "gates": gates,
        "waivers": list(waivers),
        "verdict": {"status": verdict, "reasons": doubts, "sentence": sentence or f"It is {verdict}."},
    }
    return AuditResult.model_validate(plain)


def cases() -> dict[str, AuditResult]:
    """Outcome -> result."""
    base = full(points=40)
    return {
        "pass": with_gates([gate("pass"), gate("pass", name="b")], "pass", base),
        "fail": with_gates([gate("pass"), gate("inconclusive", name="c"), gate("fail", name="colour")], "fail", base),
        "undecided": with_gates([gate("pass"), gate("inconclusive", name="c")], "inconclusive", base),
        "doubtful": with_gates([gate("pass")], "inconclusive", base),
        "waived": with_gates(
            [gate("pass"), gate("waived", name="colour")],
            "pass",
            base,
            waivers=(waiver("applied"), waiver("unmatched", "colours")),
        ),
        "no gates": with_gates([], "no gates set", base),
        "no images": geometry_only(),
        "hostile": hostile(base),
    }


def hostile(base: AuditResult) -> AuditResult:
    """Markup, control characters and great lengths wherever a name can stand."""
    plain = base.model_dump(mode="json")
    for entry, text in zip(plain["classes"], TEXTS, strict=False):
        entry["name"] = text
    for entry, text in zip(plain["findings"], TEXTS, strict=False):
        entry |= {"group": text, "sentence": text}
    plain["model"] |= {"name": TEXTS[0], "class_names": list(TEXTS)}
    plain["warnings"] = list(TEXTS)
    plain["reproduce"]["command"] = TEXTS[1]
    gates = [gate("fail", rule=text, name=text) | {"found": text, "reason": text} for text in TEXTS]
    result = AuditResult.model_validate(plain)
    return with_gates(
        [*gates, gates[0], gate("inconclusive", name="same"), gate("inconclusive", name="same")],
        "fail",
        result,
        TEXTS[7],
        tuple(waiver("expired", text, text) for text in TEXTS),
    )


def rendered(name: str, result: AuditResult, **known) -> bytes:
    """The bytes of format ``name``."""
    known = {"model": "models/leaky.onnx", "places": (Place("pyproject.toml", 12),), "seconds": 3.5, **known}
    (data,) = render_formats(sealed(result), Files(**known), [name]).values()
    return data
