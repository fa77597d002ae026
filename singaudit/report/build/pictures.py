"""From pictures to the parts of a result that describe them, and the files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.decode import decode
from singaudit.pictures.audited import Audited
from singaudit.pictures.checked import Equivalent
from singaudit.pictures.decoding.decoded import Decoded
from singaudit.pictures.round_trip import Difference, Reading, differences, probabilities, top1
from singaudit.pictures.targets import Aim
from singaudit.report.build.gallery import class_name, predicted_name
from singaudit.report.build.thumbnails import Thumbnails, thumbnail
from singaudit.report.result.pictures import ControlPicture, PicturePart


class PictureParts:
    """Builds the parts, and collects the files."""

    def __init__(
        self, world: Audited, names: Sequence[str], class_names: Sequence[str], folder: str = "pictures"
    ) -> None:
        self._world, self._names, self._classes, self._folder = world, names, class_names, folder
        self._thumbnails = Thumbnails(world.source, world.indices)
        self.files: dict[str, bytes] = {}

    def real(self, kind: str, pairs: list[tuple[int, int]], group: str) -> list[PicturePart]:
        """Parts of pairs (position, position) of real images."""
        if not pairs:
            return []
        w, s = self._world, self._world.subject
        first, second = (
            Reading(s.features[list(rows)], w.logits[list(rows)], s.embeddings[list(rows)])
            for rows in zip(*pairs, strict=True)
        )
        d = differences(first, second, s.space, w.classifier.head.activation, w.units, None)
        return [
            PicturePart.model_validate({
                **self._image(a), "kind": kind, "group": group, "value": "", "target": "", "partner": self._names[b],
                "file": None, "original_file": None, "logit_difference": float(d.logit[k]),
                "probability_difference": None if d.probability is None else float(d.probability[k]),
                "top1_kept": bool(d.top1_kept[k]), "null_move": float(d.null_move[k]),
                "image_score_deg": float(d.image_score_deg[k]), "attribute_score_deg": None, "success": None,
                "reason": "", "probability_after": self._same_class(first.logits[k], second.logits[k]), "reach": None,
                "pixel_distance": None, "residual": None, "independent_witness": False, "control": None,
                "other_thumbnail": self._thumbnails(b),
            })
            for k, (a, b) in enumerate(pairs)
        ]  # fmt: skip

    def generated(self, number: int, e: Equivalent, aim: Aim) -> PicturePart:
        """The part of an attempted equivalent; its files are kept."""
        made, d, c = e.picture is not None, e.difference, e.control_difference
        stem = f"{self._folder}/{number:03d}"
        own = {"file": f"{stem}-refined.png", "original_file": f"{stem}-original.png"} if made else {}
        if made:
            self.files |= {own["original_file"]: e.original or b"", own["file"]: e.picture or b""}
            self.files[f"{stem}-control.png"] = e.control or b""
        control = None if c is None or e.control is None else _control(e.control, c)
        empty = dict.fromkeys(
            ("logit_difference", "probability_difference", "top1_kept", "null_move", "image_score_deg",
             "attribute_score_deg", "file", "original_file")
        )  # fmt: skip
        return PicturePart.model_validate({
            **self._image(e.row), **empty, **own, **({} if d is None else _numbers(d)), "kind": "refined",
            "group": aim.group, "value": aim.values[e.own] if e.own >= 0 else "",
            "target": aim.values[e.value], "partner": "" if e.start is None else self._names[e.start],
            "success": e.success, "reason": e.reason, "reach": e.reach,
            "probability_after": self._after(e) if made else None,
            "pixel_distance": e.pixel_distance if made else None, "residual": e.residual if made else None,
            "independent_witness": False, "control": control,
            "thumbnail": "" if e.original is None else thumbnail(decode(e.original)),
            "other_thumbnail": "" if e.picture is None else thumbnail(decode(e.picture)),
        })  # fmt: skip

    def decoded(self, number: int, d: Decoded, group: str) -> PicturePart:
        """The part of one image decoded with one noise, and its files."""
        stem = f"{self._folder}/{number:03d}"
        own = {"file": f"{stem}-decoded.png", "original_file": f"{stem}-translated.png"}
        self.files |= {own["original_file"]: d.original, own["file"]: d.picture}
        before, after = d.logits
        return PicturePart.model_validate({
            **self._image(d.row), **own, **_numbers(d.difference), "kind": "decoded", "group": group, "value": "",
            "target": "", "partner": "", "noise": d.seed, "predicted": predicted_name(self._classes, before),
            "probability": self._same_class(before, before), "probability_after": self._same_class(before, after),
            "success": None, "reason": "", "reach": None, "pixel_distance": None, "residual": None,
            "independent_witness": False, "control": _control(d.control, d.control_difference),
            "thumbnail": thumbnail(decode(d.original)), "other_thumbnail": thumbnail(decode(d.picture)),
        })  # fmt: skip

    def _image(self, row: int) -> dict[str, object]:
        logits = self._world.logits[row]
        return {
            "image": self._names[row],
            "class_name": class_name(self._world.subject, self._classes, row),
            "predicted": predicted_name(self._classes, logits),
            "probability": self._same_class(logits, logits),
            "thumbnail": self._thumbnails(row),
        }

    def _same_class(self, logits: NDArray[np.float32], after: NDArray[np.float32]) -> float | None:
        """Probability that logits ``after`` (c,) give to the class which ``logits`` predict."""
        p = probabilities(after[None].astype(np.float64), self._world.classifier.head.activation)
        if p is None:
            return None
        if len(after) == 1:
            return float(p[0, 0] if logits[0] > 0 else 1 - p[0, 0])
        return float(p[0, top1(logits[None].astype(np.float64))[0]])

    def _after(self, e: Equivalent) -> float | None:
        return None if e.logits is None else self._same_class(self._world.logits[e.row], e.logits)


def _numbers(d: Difference) -> dict[str, Any]:
    """A difference of one pair, as parts of the result hold it."""
    return {
        "logit_difference": float(d.logit[0]),
        "probability_difference": None if d.probability is None else float(d.probability[0]),
        "top1_kept": bool(d.top1_kept[0]),
        "null_move": float(d.null_move[0]),
        "image_score_deg": float(d.image_score_deg[0]),
        "attribute_score_deg": None if d.attribute_score_deg is None else float(d.attribute_score_deg[0]),
    }


def _control(file: bytes, d: Difference) -> ControlPicture:
    return ControlPicture(**_numbers(d), thumbnail=thumbnail(decode(file)))
