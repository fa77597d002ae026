"""The card's one picture: the most telling pair of equivalent images, side by side."""

from __future__ import annotations

import base64
import io

from singaudit.report.result.audit import AuditResult
from singaudit.report.result.pictures import PicturePart

_KINDS = ("refined", "natural pair")
_GAP = 8


def telling_picture(shown: AuditResult) -> tuple[bytes, str] | None:
    """(PNG, what it shows in words) of the pair that says most; None where the result has no pictures.

    A generated equivalent that succeeded comes first, then a natural pair; of each kind the largest null move.
    """
    for kind in _KINDS:
        ready = [
            p
            for p in shown.pictures
            if p.kind == kind and p.thumbnail and p.other_thumbnail and (p.success or kind != "refined")
        ]
        if ready:
            best = max(ready, key=lambda p: p.null_move or 0.0)
            png = _side_by_side(best.thumbnail, best.other_thumbnail)
            return None if png is None else (png, _words(best))
    return None


def _words(picture: PicturePart) -> str:
    """What is seen, in the reader's words."""
    what = f"another {picture.group}" if picture.group else "other content"
    how = "made to differ" if picture.kind == "refined" else "both real images"
    moved = (
        ""
        if picture.logit_difference is None
        else (f"; no logit moves by more than {picture.logit_difference:.2g} of its standard deviation")
    )
    return f"The same logits, {what}: an image of class {picture.class_name} and its equivalent, {how}{moved}."


def _side_by_side(first: str, second: str) -> bytes | None:
    """Two thumbnails (data URIs of PNG or JPEG) beside each other as PNG; None for what is no picture."""
    from PIL import Image

    try:
        left, right = (
            Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB") for uri in (first, second)
        )
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    height = max(left.height, right.height)
    sheet = Image.new("RGB", (left.width + _GAP + right.width, height), "white")
    sheet.paste(left, (0, (height - left.height) // 2))
    sheet.paste(right, (left.width + _GAP, (height - right.height) // 2))
    scale = max(1, 448 // max(sheet.width, 1))
    sheet = sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()
