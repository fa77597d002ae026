"""The protocol of "Make it SING" (arXiv 2603.14610): 13 classifiers, ImageNet images, Table 1 beside the paper's.

    python examples/paper_protocol.py --images imagenet/val -o protocol/                  all of it: hub and data needed
    python examples/paper_protocol.py --images imagenet/val --only ResNet50,DinoViT -o protocol/
    python examples/paper_protocol.py --images shapes:2000 --vlm builtin:shapes --models stand_ins.json -o protocol/

Every model is audited on the same images by every vision-language model, whose embeddings are computed once. What the
paper does not report, here as everywhere: intervals, the share of images that reach the angle at all, and the controls
beside which a score means something. An audit that is there already is read, not made again, so that a run that was
interrupted goes on where it stopped; a model or image that changed under the same name needs another output folder.
Models that cannot be audited are listed with the reason, and the run goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from singaudit import AuditConfig, AuditResult, audit
from singaudit.dataset.sources.table import open_source
from singaudit.errors import SingauditError
from singaudit.report.build.comparison import compare
from singaudit.report.formats.folder import check_output_folder
from singaudit.report.formats.writer import write_comparison, write_report
from singaudit.report.pages.comparison import render_comparison
from singaudit.report.result.base import Statistic
from singaudit.report.result.store import load_result

IMAGES = 10_000
"""That the paper uses (section 4)."""
ENCODERS = ("openai/clip-vit-large-patch14", "open_clip:EVA02-L-14/merged2b_s4b_b131k")
"""CLIP ViT-L/14 and EVA-02-CLIP."""


@dataclass(frozen=True)
class Protocol:
    """One model of the protocol, and what the paper reports of it."""

    name: str
    """As the paper's tables call it."""
    model: str
    """As singaudit opens it."""
    null_dim: int | None = None
    """Of a 1000-class head of full rank: features less classes."""
    table1: tuple[float, float] | None = None
    """|AS| toward the target at IS = 40 degrees, mean and its error; None where Table 1 does not list it."""


MODELS = (
    Protocol("VGG-16", "torchvision:vgg16@IMAGENET1K_V1", 3096),
    Protocol("VGG-19", "torchvision:vgg19@IMAGENET1K_V1", 3096),
    Protocol("DenseNet-121", "torchvision:densenet121@IMAGENET1K_V1", 24),
    Protocol("ResNet50", "torchvision:resnet50@IMAGENET1K_V1", 1048, (12.04, 0.25)),
    Protocol("DinoViT", "timm:vit_large_patch16_224", 24, (5.00, 0.59)),
    Protocol("EfficientNet", "timm:tf_efficientnet_b0.ns_jft_in1k", 280, (12.38, 0.52)),
    Protocol("BiT-ResNet", "timm:resnetv2_50x1_bit.goog_in21k_ft_in1k", 1048, (9.19, 0.31)),
    Protocol("ResNeXt101", "timm:resnext101_32x8d.fb_wsl_ig1b_ft_in1k", 1048, (11.15, 0.53)),
    Protocol("ConvNeXt-B", "timm:convnext_base.fb_in22k_ft_in1k", 24),
    Protocol("Swin-L", "timm:swin_large_patch4_window7_224", 536),
    Protocol("DeiT-3-L", "timm:deit3_large_patch16_224", 24),
    Protocol("EVA-02-L", "timm:eva02_large_patch14_448.mim_in22k_ft_in22k_in1k", 24),
    Protocol("DINOv2-L", "hf:facebook/dinov2-large-imagenet1k-1-layer", 1048),
)


@dataclass(frozen=True)
class Row:
    """One model read by one vision-language model, beside the paper."""

    name: str
    encoder: str
    null_dim: int
    paper_null_dim: int | None
    image_score_deg: Statistic | None
    attribute_score_deg: Statistic | None
    ratio: Statistic | None
    cosine: Statistic | None
    steered_deg: Statistic | None
    """|AS| toward another class at IS = 40: Table 1."""
    reached: Statistic | None
    """Share of images that reach it."""
    paper_steered_deg: tuple[float, float] | None
    note: str = ""
    """Why there is nothing, where there is nothing."""


def run(
    models: Sequence[Protocol],
    images: str,
    encoders: Sequence[str],
    out: Path,
    *,
    labels: str = "none",
    limit: int | None = IMAGES,
    seed: int = 0,
) -> list[Row]:
    """Audit every model with every encoder, and write ``out``/table.md, table.json and a comparison per encoder."""
    rows: list[Row] = []
    for encoder in encoders:
        results, names = [], []
        for protocol in models:
            where = out / plain(encoder) / plain(protocol.name)
            try:
                result = audited(protocol, images, encoder, where, labels, limit, seed)
            except SingauditError as error:
                print(f"{protocol.name}: {error.message}", file=sys.stderr)
                rows.append(missing(protocol, encoder, error.message))
                continue
            results.append(result)
            names.append(str(where))
            rows.append(row(protocol, encoder, result))
        if len(results) > 1:
            found = compare(results, names, [None] * len(results), anyway=True)
            page, folder = render_comparison(found, results), out / plain(encoder)
            write_comparison(page, found.model_dump_json(indent=1), folder, "compare.html")
    (out / "table.md").write_text(table(rows), encoding="utf-8")
    (out / "table.json").write_text(json.dumps([plain_row(r) for r in rows], indent=1), encoding="utf-8")
    return rows


def audited(
    protocol: Protocol, images: str, encoder: str, where: Path, labels: str, limit: int | None, seed: int
) -> AuditResult:
    """The audit of one model: read where it was made before with the same settings, else made and kept."""
    config = AuditConfig(model=protocol.model, images=images, vlm=encoder, labels=labels, limit=limit, seed=seed)
    kept = where / "result.json"
    if kept.is_file():
        earlier = load_result(kept)
        if earlier.reproduce.command == command_of(config):
            return earlier
    check_output_folder(where)
    found = audit(config, progress=lambda stage, done, total: None)
    write_report(found.result, found.per_image, where, formats=("html", "json", "csv"), run_info={})
    return load_result(kept)


def command_of(config: AuditConfig) -> str:
    """The command line that an audit's result states."""
    from singaudit.report.build.reproduce import command_line

    return command_line(config)


def row(protocol: Protocol, encoder: str, result: AuditResult) -> Row:
    """What the tables hold of one audit."""
    scores, translator = result.scores, result.translator
    steered = result.steering.other_class if result.steering else None
    return Row(
        protocol.name, encoder, result.geometry.null_dim, protocol.null_dim,
        scores.image_score_deg if scores else None, scores.attribute_score_deg if scores else None,
        scores.ratio if scores else None, translator.cosine if translator else None,
        steered.absolute_deg if steered else None, steered.reached if steered else None, protocol.table1,
        "" if scores else "; ".join(result.not_evaluated),
    )  # fmt: skip


def missing(protocol: Protocol, encoder: str, reason: str) -> Row:
    """A model that could not be audited."""
    none = (None,) * 6
    return Row(protocol.name, encoder, 0, protocol.null_dim, *none, protocol.table1, reason)


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown, the paper's numbers beside ours."""
    head = (
        "| model | read by | null dim (paper) | IS, degrees | class &#124;AS&#124;, degrees | IS / &#124;AS&#124; | "
        "translator cosine | &#124;AS&#124; toward another class at IS = 40 | images that reach it | paper's Table 1 |"
    )
    lines = [head, "|" + " --- |" * 10]
    for r in rows:
        if r.note:
            lines.append(f"| {r.name} | {r.encoder} | not audited: {r.note} |" + " |" * 7)
            continue
        paper = "not listed" if r.paper_steered_deg is None else "{:.2f} +- {:.2f}".format(*r.paper_steered_deg)
        null = f"{r.null_dim} ({'-' if r.paper_null_dim is None else r.paper_null_dim})"
        cells = [
            r.name,
            r.encoder,
            null,
            *(said(s) for s in (r.image_score_deg, r.attribute_score_deg, r.ratio, r.cosine, r.steered_deg, r.reached)),
            paper,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def said(s: Statistic | None) -> str:
    """A statistic with its interval."""
    return "not measured" if s is None else f"{s.value:.3g} [{s.low:.3g}, {s.high:.3g}], n = {s.n}"


def plain_row(r: Row) -> dict[str, object]:
    """A row as plain data."""
    return {k: v.model_dump() if isinstance(v, Statistic) else v for k, v in vars(r).items()}


def plain(name: str) -> str:
    """A name as a folder."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)


def drawn(images: str, limit: int, seed: int, labels: str, out: Path) -> str:
    """``images``, or of a folder of more than ``limit`` a list in ``out`` of that many, drawn over all classes.

    The first images of a folder that is sorted by class would be of few classes. A label file names paths below the
    folder: with one the first images are taken.
    """
    root = Path(images).expanduser().absolute()
    if labels not in ("auto", "none") or not root.is_dir():
        return images
    source = open_source(images)
    if len(source) <= limit or not all((root / name).is_file() for name in source.names):
        return images
    rows = sorted(random.Random(seed).sample(range(len(source)), limit))
    known = source.labels if labels == "auto" else None
    lines = [f"{root / source.names[i]} {known[i] if known else ''}".strip() for i in rows]
    path = out / f"images-{limit}-{seed}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def chosen(path: str | None, only: str | None) -> list[Protocol]:
    """The protocol's models, or those of a JSON list of {name, model, null_dim, table1}; ``only`` names some."""
    models = list(MODELS)
    if path is not None:
        known = asdict(MODELS[0]).keys()
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        models = [
            Protocol(**{k: tuple(v) if k == "table1" and v else v for k, v in e.items() if k in known}) for e in entries
        ]
    if only is None:
        return models
    wanted = [name.strip() for name in only.split(",")]
    unknown = set(wanted) - {m.name for m in models}
    if unknown:
        raise SystemExit(f"expected names among {', '.join(m.name for m in models)}, got {', '.join(sorted(unknown))}")
    return [m for m in models if m.name in wanted]


def main() -> int:
    """Read the options, run, print the table; 0 when every model was audited, else 1."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--images", required=True, help="ImageNet folder, or any source of singaudit run --images")
    parser.add_argument("--labels", default="none", help="as of singaudit run; none: images count as predicted")
    parser.add_argument("--vlm", action="append", help=f"vision-language model, repeatable; default {ENCODERS}")
    parser.add_argument("--models", help="JSON list of {name, model} in the place of the paper's 13")
    parser.add_argument("--only", help="names of models, separated by commas")
    parser.add_argument("--limit", type=int, default=IMAGES, help=f"N images (default {IMAGES}, as in the paper)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", default="paper-protocol")
    given = parser.parse_args()
    out = Path(given.output)
    out.mkdir(parents=True, exist_ok=True)
    try:
        images = drawn(given.images, given.limit, given.seed, given.labels, out)
    except SingauditError as error:
        raise SystemExit(f"{error.message}. {error.hint}") from error
    rows = run(
        chosen(given.models, given.only),
        images,
        tuple(given.vlm or ENCODERS),
        out,
        labels=given.labels,
        limit=given.limit,
        seed=given.seed,
    )
    print(table(rows), end="")
    return int(any(r.note for r in rows))


if __name__ == "__main__":
    sys.exit(main())
