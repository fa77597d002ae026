"""What was found of one image, on the terminal."""

from __future__ import annotations

from singaudit.cli.terminal import safe
from singaudit.report.brief.one_image import image_answer
from singaudit.report.pages.pictures import no_pair
from singaudit.report.result.image import ImageResult
from singaudit.report.result.pictures import PicturePart


def show(result: ImageResult) -> None:
    """Print what was found for a person."""
    sure = f" ({result.probability:.0%})" if result.probability is not None else ""
    print(f"{safe(result.image)}: {safe(result.predicted)}{sure}")
    answer = image_answer(result)
    print(f"  {safe(answer.sentence, 400)}")
    print(
        f"  image score {result.image_score_deg:.1f}°, attribute score toward the class "
        f"{result.attribute_score_deg:+.1f}° (mean removal); largest change of a logit {result.logit_change:.1g} of "
        "its spread"
    )
    for verb, words in (("loses", result.lost), ("gains", result.gained)):
        shown = [
            f"{safe(w.name, 40)} {w.change_deg.value:+.1f}° [{w.change_deg.low:.1f}, {w.change_deg.high:.1f}]"
            for w in words[:6]
            if w.change_deg is not None
        ]
        if shown:
            print(f"  {verb}: {', '.join(shown)}")
    if result.words_tested and not (result.lost or result.gained):
        print("  no word is lost or gained beyond the translator's uncertainty and what other images' parts do")
    if result.decomposition is not None:
        d = result.decomposition
        parts = ", ".join(f"{'+' if a.change == 'gained' else '-'}{safe(a.name, 40)} {a.weight:.2f}" for a in d.atoms)
        print(
            f"  in few words: {parts} ({d.explained:.0%} explained; random null directions {d.control_mean:.0%} "
            f"[{d.control_low:.0%}, {d.control_high:.0%}])"
        )
    for label, near in (("nearest", result.near_original), ("nearest after removal", result.near_equivalent)):
        if near:
            print(f"  {label}: {', '.join(f'{safe(n.name, 40)} ({safe(n.class_name, 30)})' for n in near)}")
    _show_pictures(result)
    for warning in result.warnings:
        print(f"  ! {safe(warning, 500)}")


def _show_pictures(result: ImageResult) -> None:
    """Equivalents and natural pairs, a line each, failures with their reason."""
    if result.generation is None:
        return
    print(f"  {safe(result.generation.sentence, 500)}")
    for p in result.pictures:
        if p.kind == "refined":
            toward = f" toward {safe(p.target, 40)}" if p.group else ""
            print(f"    {'kept' if p.success else 'failed'}{toward}: {_numbers(p)}")
            if p.reason:
                print(f"      {safe(p.reason, 300)}")
            if p.file is not None:
                print(f"      {safe(p.file)}, from {safe(p.partner, 60)}")
        elif p.kind == "natural pair":
            print(f"    natural pair: {_numbers(p)}\n      {safe(p.partner, 60)}")
    search = result.pair_search
    if search is not None and not search.found:
        print(f"    {safe(no_pair(search), 300)}")


def _numbers(p: PicturePart) -> str:
    if p.logit_difference is None:
        return "no picture"
    beside = "" if p.control is None else f" (control {p.control.logit_difference:.2g})"
    moved = "" if p.control is None else f" (control {p.control.null_move:.2f})"
    sure = f", {safe(p.predicted, 30)}"
    if p.probability is not None and p.probability_after is not None:
        sure += f" {p.probability:.0%} -> {p.probability_after:.0%}"
    toward = "" if p.attribute_score_deg is None else f", AS {p.attribute_score_deg:+.1f}°"
    return (
        f"logits within {p.logit_difference:.2g} sd{beside}{sure}, null move {p.null_move:.2f} norms{moved}, "
        f"IS {p.image_score_deg:.1f}°{toward}"
    )
