"""From what was measured to the parts of the result: pure assembly, no computation on images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier, Head, Preprocessing
from singaudit.engine.interface import Pass
from singaudit.geometry.null_space import Ranks
from singaudit.language.concepts import Group, prompts
from singaudit.language.translators.fit import FOLDS, Fitted
from singaudit.metrics.intervals import Bootstrap, Estimate, at_least_wilson, bootstrap
from singaudit.metrics.measure import MODEL_COLUMNS, Measured
from singaudit.metrics.subject import Subject
from singaudit.metrics.units import Units
from singaudit.report.result.base import DIGITS, Statistic
from singaudit.report.result.data import ImageNote, ImagesPart, SkippedImage, TranslatorPart, UnitsPart
from singaudit.report.result.model import (
    CertificatePart,
    GeometryPart,
    HeadPart,
    ModelPart,
    NearNull,
    PreprocessingPart,
    RankAt,
    RuntimePart,
)
from singaudit.report.result.scores import ClassPart, ConceptPart, Removal, ScatterPart, ScoresPart

if TYPE_CHECKING:
    # Its module imports torch, which a geometry-only audit's report does not need.
    from singaudit.classifier.shadow.certificate import Certificate

Array = NDArray[np.float64]

_M = {name: i for i, name in enumerate(MODEL_COLUMNS)}
_SENSITIVITY = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
_SHOWN_SKIPPED = 100
_LONGEST_NAME = 300
_NAMED_UNITS, _NAMED_IMAGES = 50, 20
_SCATTER_POINTS = 2000


def statistic(e: Estimate) -> Statistic:
    """An estimate as it stands in the result."""
    return Statistic(value=rounded(e.value), low=rounded(e.low), high=rounded(e.high), n=e.n)


def rounded(x: float) -> float:
    """An estimate's number to ``DIGITS`` significant digits, far below what its interval leaves open."""
    return float(f"{x:.{DIGITS}g}")


def maybe(e: Estimate) -> Statistic | None:
    """The same, or None where the number does not exist (a ratio over 0)."""
    return statistic(e) if np.isfinite([e.value, e.low, e.high]).all() else None


def preprocess_text(p: Preprocessing) -> str:
    """Settings in the syntax of ``--preprocess``."""
    size = f"{p.height}" if p.height == p.width else f"{p.height}x{p.width}"
    inverse = 1 / p.scale
    scale = f"1/{round(inverse)}" if p.scale < 1 and abs(inverse - round(inverse)) < 1e-9 else f"{p.scale:g}"
    cut = p.mode == "crop" or p.crop != 1
    # Digits enough for the same window: 220 / 0.916667 is not 240.
    crop = f",crop={p.crop:.10g}" + (",offset=floor" if p.offset == "floor" else "") if cut else ""
    crop += f",fill={'/'.join(map(str, p.fill))}" if any(p.fill) else ""
    mean, std = ("/".join(f"{v:g}" for v in values) for values in (p.mean, p.std))
    return (
        f"size={size},mode={p.mode}{crop},interpolation={p.interpolation},channels={p.channels},scale={scale},"
        f"mean={mean},std={std},layout={p.layout}"
    )


def _short(text: str) -> str:
    """A name from the model's file, cut where no person would read on."""
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def certificate_part(certificate: Certificate) -> CertificatePart:
    """The shadow copy's certificate as it stands in the result."""
    return CertificatePart.model_validate({**asdict(certificate), "unsupported": list(certificate.unsupported)})


def model_part(classifier: Classifier, class_names: Sequence[str], names_source: str) -> ModelPart:
    """What was audited."""
    head, p = classifier.head, classifier.preprocessing
    return ModelPart(
        name=classifier.name,
        sha256=classifier.sha256,
        format=classifier.format,
        class_names=list(class_names),
        class_names_source=names_source,
        head=HeadPart(
            kind=_short(head.kind),
            nodes=[_short(n) for n in head.nodes],
            features=_short(head.features),
            logits=_short(head.logits),
            stored_dtype=head.stored_dtype,
            activation=head.activation,
            activation_stated=head.activation_stated,
            max_error=head.max_error,
        ),
        runtime=RuntimePart(**asdict(classifier.runtime)),
        preprocessing=PreprocessingPart(settings=preprocess_text(p), source=p.source, guessed=list(p.guessed)),
    )


def geometry_part(
    ranks: Ranks,
    head: Head,
    near_null: tuple[float, int, float] | None = None,
    measured: Measured | None = None,
) -> GeometryPart:
    """What the logits see. ``near_null`` is (fraction, dimension, share)."""
    sigmoid = head.activation == "sigmoid"
    return GeometryPart(
        classes=len(head.weight),
        feature_dim=ranks.feature_dim,
        rank=ranks.rank,
        null_dim=ranks.null_dim,
        softmax_null_dim=None if sigmoid else ranks.softmax_null_dim,
        singular_values=ranks.singular_values.tolist(),
        tolerance=ranks.tolerance,
        tolerance_reason=ranks.tolerance_reason,
        gap=ranks.gap,
        rank_sensitivity=[RankAt(factor=f, rank=ranks.rank_at(f)) for f in _SENSITIVITY],
        null_energy_share=maybe(measured.model.ratio(_M["null_energy"], _M["energy"])) if measured else None,
        near_null=NearNull(fraction=near_null[0], dim=near_null[1], variance_share=near_null[2]) if near_null else None,
    )


def units_part(units: Units, images: Sequence[str]) -> UnitsPart:
    """Which of the images, by their names, count as one."""
    return UnitsPart(
        count=units.count,
        images=len(units.of),
        how="column" if units.search == "given" else "none" if units.search == "none" else "found",
        joined_units=len(units.joined),
        joined=[[images[row] for row in unit[:_NAMED_IMAGES]] for unit in units.joined[:_NAMED_UNITS]],
        recall=None if units.recall is None else rounded(units.recall),
    )


def images_part(images: Pass) -> ImagesPart:
    """A set of images as it was used."""
    return ImagesPart(
        source=images.source,
        found=images.found,
        used=len(images.names),
        skipped=[SkippedImage(name=s.name, reason=s.reason) for s in images.skipped[:_SHOWN_SKIPPED]],
        skipped_count=len(images.skipped),
        duplicates=images.duplicates,
        outside=images.outside,
        digest=images.digest(),
        notes=[ImageNote(note=n, images=len(names), first=names[0]) for n, names in images.notes.items()],
    )


def translator_part(fitted: Fitted, m: Measured, classes: int) -> TranslatorPart:
    """Fidelity on images the translators were not fitted on."""
    agreement = at_least_wilson(m.model.mean(_M["agreement"]), len(m.image_score))
    explained = [_M[name] for name in ("residual", "residual_principal", "variance")]
    return TranslatorPart(
        r2=statistic(m.r2),
        r2_null_gain=statistic(
            m.model.estimate(lambda c: (c[..., explained[1]] - c[..., explained[0]]) / c[..., explained[2]])
        ),
        cosine=statistic(m.model.mean(_M["cosine"])),
        cosine_shuffled=statistic(m.model.mean(_M["cosine_shuffled"])),
        agreement=statistic(agreement) if classes > 1 else None,
        images=fitted.images,
        fitted_on="a file's images" if fitted.from_file else "probe images" if fitted.on_probe else "other folds",
        folds=1 if fitted.on_probe or fitted.from_file else FOLDS,
        penalty=[t.penalty for t in fitted.translators],
    )


def scores_part(m: Measured) -> ScoresPart:
    """Model-level scores under zero and under mean removal."""

    def removal(kind: str) -> dict[str, Statistic | None]:
        angle, signed, size = (_M[f"{name}_{kind}"] for name in ("is", "as", "abs"))
        return {
            "image_score_deg": statistic(m.model.mean(angle)),
            "attribute_score_deg": statistic(m.model.mean(size)),
            "signed_attribute_score_deg": statistic(m.model.mean(signed)),
            "ratio": maybe(m.model.ratio(angle, size)),
        }

    return ScoresPart.model_validate({**removal("zero"), "mean_removal": Removal.model_validate(removal("mean"))})


def class_parts(m: Measured, subject: Subject, names: Sequence[str]) -> list[ClassPart]:
    """Scores per class under zero removal."""
    parts, class_of = [], subject.class_of

    order = np.argsort(class_of, kind="stable")
    bounds = np.searchsorted(class_of[order], np.arange(len(names) + 1))
    for index, name in enumerate(names):
        rows = order[bounds[index] : bounds[index + 1]]
        signed = m.attribute_score[rows]
        means: Sequence[Statistic | None] = [None] * 3
        if len(rows):
            columns = np.column_stack([m.image_score[rows], np.abs(signed), signed])
            drawn = bootstrap(columns, subject.seed, units=subject.unit_of[rows])
            means = [statistic(one) for one in drawn.columns(range(3))]
        parts.append(
            ClassPart(
                name=name,
                images=len(rows),
                image_score_deg=means[0],
                attribute_score_deg=means[1],
                signed_attribute_score_deg=means[2],
                quantiles_deg=np.percentile(signed, np.arange(0, 101, 5)).tolist() if len(rows) else [],
            )
        )
    return parts


def concept_parts(concepts: Bootstrap, groups: Sequence[Group], singles: Sequence[str]) -> list[ConceptPart]:
    """Scores per concept; columns as ``Measured.concepts`` says."""
    named: list[tuple[str, str | None, str]] = [
        (v, g.name, prompts(g.template, said)[0])
        for g in groups
        if g.kind != "concept"
        for v, said in zip(g.values, g.said, strict=True)
    ]
    named += [(v, None, prompts("{}", v)[0]) for v in singles]
    k = len(named)
    means = concepts.columns(range(3 * k))
    return [
        ConceptPart(
            name=name,
            group=group,
            prompt=prompt,
            zero_removal_deg=statistic(means[i]),
            attribute_score_deg=statistic(means[k + i]),
            absolute_deg=statistic(means[2 * k + i]),
        )
        for i, (name, group, prompt) in enumerate(named)
    ]


def scatter_part(m: Measured, sha256: Sequence[str], class_of: NDArray[np.intp]) -> ScatterPart:
    """A bounded sample for the chart, in hash order, and the covariance of all images."""
    rows = np.argsort(np.asarray(sha256), kind="stable")[:_SCATTER_POINTS]
    pair = np.stack([m.attribute_score, m.image_score])
    covariance = np.cov(pair) if pair.shape[1] > 1 else np.zeros((2, 2))
    return ScatterPart(
        image_score_deg=m.image_score[rows].tolist(),
        attribute_score_deg=m.attribute_score[rows].tolist(),
        class_index=class_of[rows].tolist(),
        mean=pair.mean(axis=1).tolist(),
        covariance=covariance.tolist(),
    )
