"""Options shared by the commands, and the variables that set them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from singaudit.cli.settings import merged_settings
from singaudit.dataset.sources.table import source_help
from singaudit.language.encoders.table import DEFAULT as DEFAULT_ENCODER
from singaudit.language.encoders.table import encoder_help
from singaudit.report.formats.table import FORMATS, chosen_formats, usual_formats


class Line(click.types.StringParamType):
    """A text that may hold spaces, as gates and lists do; several in a variable stand one a line."""

    envvar_list_splitter = "\n"


def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that can also be set by SINGAUDIT_<NAME> and in the configuration file."""
    long = next(name for name in names if name.startswith("--"))
    variable = "SINGAUDIT_" + long.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=False, **settings)


MODEL_OPTIONS = [
    option(
        "--arch",
        metavar="NAME",
        help="Network of a file that holds weights alone, as timm or torchvision name it; timm:NAME or "
        "torchvision:NAME where both do.",
    ),
    option("--logits", metavar="NAME", help="Output that holds the logits, where the graph leaves a choice."),
    option("--features", metavar="NAME", help="Tensor that holds the features, where the graph leaves a choice."),
    option("--activation", type=click.Choice(["auto", "softmax", "sigmoid"]), help="What follows the logits."),
    option(
        "--preprocess",
        metavar="KEY=VALUE,...",
        help="size=224 or HxW, mode=crop|squash|pad, crop=0.95, offset=round|floor, fill=mean|R/G/B, mean=, std= (per "
        "channel joined by /), scale=1/255|1, channels=rgb|bgr|gray, layout=nchw|nhwc, "
        "interpolation=. Default: the file's metadata.",
    ),
    click.option(
        "--allow-code",
        is_flag=True,
        help="Open model files that are programs (TorchScript, .pt2, pickled modules): they can do whatever you can. "
        "Remote code is never run.",
    ),
]
CLASSES_OPTION = option(
    "--classes", metavar="A,B,C|FILE|timm:LIST", help="Class names in logit order. Default: the model's own metadata."
)
IMAGE_OPTIONS = [
    option(
        "--images",
        metavar="SOURCE",
        help=source_help(),
    ),
    option(
        "--labels",
        metavar="auto|none|FILE",
        help="auto: subfolders, or the source's own. FILE: CSV with path,label and concept groups.",
    ),
    option(
        "--label-column",
        metavar="NAME",
        help="Column of labels in a table, a label file or metadata.csv, where several could be meant.",
    ),
    option(
        "--units",
        metavar="auto|none|COLUMN",
        help="Images of one scene count once. auto: by a column called unit, else copies and frames are found; COLUMN: "
        "of the label file or the source; none: every image counts. [default: auto]",
    ),
    option("--limit", type=click.IntRange(1), metavar="N", help="Use the first N images of each source only."),
]
ARRAYS_OPTION = click.option(
    "--arrays",
    metavar="DIR",
    help="In the place of MODEL and its images: a folder of weight.npy, bias.npy, features.npy, embeddings.npy, "
    "class_texts.npy, group.NAME.npy and more, and names.json; see the guide on arrays.",
)
GEOMETRY_OPTION = click.option(
    "--geometry-only", is_flag=True, help="Audit the head and the shadow copy alone; no image is looked at."
)
PROBE_OPTION = option(
    "--probe", metavar="SOURCE", help="Extra unlabelled images; the translator is then fitted on these alone."
)
PACK_FILE_OPTIONS = [
    click.option("--with-images", is_flag=True, help="Put the images' own bytes into the pack too."),
    # No variable and no configuration key: those of -o name the folder of a report.
    click.option(
        "-o", "--output", "pack_file", metavar="FILE", default="probe.pack", show_default=True, help="File to write."
    ),
]
PACK_OPTION = option("--pack", metavar="FILE", help="Embeddings made by singaudit pack; no language model is needed.")
CACHE_OPTIONS = [
    option(
        "--cache",
        metavar="auto|none|DIR",
        help="Where features, embeddings and certificates are kept for later audits. [default: auto, the platform's "
        "cache folder]",
    ),
    click.option("--no-cache", is_flag=True, help="The same as --cache none."),
]
ENGINE_OPTIONS = [
    option("--engine", metavar="local|ray", help="Where the passes over images run. [default: local]"),
    option("--ray-address", metavar="ADDRESS", help="Ray cluster to join. Default: workers on this machine."),
    option("--ray-actors", type=click.IntRange(1), metavar="N", help="Workers. Default: as many as have room."),
    option("--ray-cpus", type=click.FloatRange(0, min_open=True), metavar="X", help="CPUs of a worker. [default: 1]"),
    option("--ray-gpus", type=click.FloatRange(0), metavar="X", help="GPUs of a worker. [default: 0]"),
]
IMAGES_ONLY = [IMAGE_OPTIONS[0], IMAGE_OPTIONS[-1]]
TRANSLATOR_OUTPUT = click.option(
    "-o", "translator_file", metavar="FILE", default="translator.safetensors", show_default=True, help="File to write."
)
TRANSLATOR_OPTION = option(
    "--translator", metavar="FILE", help="Translator made by singaudit translator. Default: fit one."
)
VLM_OPTIONS = [
    option(
        "--vlm",
        metavar="NAME|DIR",
        help=f"{encoder_help()} [default: {DEFAULT_ENCODER}]",
    ),
    option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        help="Of the vision-language model; bf16 is faster on GPUs and processors made for it, and less exact. "
        "[default: fp32]",
    ),
]
LANGUAGE_OPTIONS = [
    *VLM_OPTIONS,
    option(
        "--class-prompts",
        metavar="FILE",
        help="Texts that stand for the classes where names are codes: a line a class in logit order, or a CSV with "
        "class,prompt. Default: the names.",
    ),
    option("--concepts", metavar="FILE", help="Concepts: a text file, one a line, or TOML groups. Default: built-in."),
]
DECODER = "kakaobrain/karlo-v1-alpha-image-variations"
"""``pictures.unclip.KARLO``, whose module is not imported for the sake of a help text."""
PICTURE_OPTIONS = [
    option(
        "--generate",
        type=click.IntRange(0, 1000),
        metavar="N",
        help="Make equivalent images, with the same logits, of the N most telling images; 0: none. [default: 6]",
    ),
    option(
        "--toward",
        metavar="GROUP|TEXT",
        help="Concept group or text that equivalents are led toward. Default: what the findings name.",
    ),
    option(
        "--decode",
        metavar="[NAME|DIR]",
        is_flag=False,
        flag_value=DECODER,
        help="Draw the translated features of 4 images with an unCLIP decoder, before and after removal: "
        f"ORG/NAME[@REVISION] on the hub, or a folder; {DECODER} where none is named.",
    ),
]
PHOTO_PICTURE_OPTIONS = [
    option(
        "--toward",
        metavar="GROUP|TEXT",
        help="Concept group or text: make images with the photo's logits that show it, from those of --images.",
    ),
    option(
        "--generate",
        type=click.IntRange(0, 1000),
        metavar="N",
        help="With --toward: equivalents to try, each from other real images. [default: 6]",
    ),
]
GATE_OPTIONS = [
    option(
        "--gate",
        "gates",
        type=Line(),
        multiple=True,
        metavar="RULE",
        help="e.g. 'scores.attribute_score_deg < 3' or 'finding[colour] not in (strong, partial)'; default for a "
        "ready policy. May be given several times.",
    ),
    option(
        "--gate-on",
        type=click.Choice(["upper", "point", "lower"]),
        help="End of the interval a gate is judged on. upper, the default: the bad one; a straddled limit is "
        "inconclusive.",
    ),
    option(
        "--baseline",
        metavar="RESULT.json",
        help="An earlier audit of the same images: what got worse, also for gates such as 'baseline.finding[colour] "
        "not worse'.",
    ),
    click.option("--exit-zero", is_flag=True, help="Exit 0 instead of 1 or 4."),
]
NEW_MODEL_OPTIONS = [
    # No variable and no configuration key: those of -o name the folder of a report.
    click.option(
        "-o",
        "--output",
        "new_model",
        metavar="FILE",
        required=True,
        help="Model file to write, .onnx; a page and the numbers as JSON are written beside it.",
    ),
    click.option("--force", "force", is_flag=True, help="Write it whatever speaks against it."),
]
REFIT_OPTIONS = [
    option("--balance", metavar="GROUP,...", default="class", show_default=True,
           help="Groups whose values count alike in the fit, in every combination: class, columns of --labels or of "
           "the source, or groups of the concepts, read with --vlm; none: as the images are."),
    option("--holdout", type=click.FloatRange(0.05, 0.9), metavar="SHARE", default=0.3, show_default=True,
           help="Share of the images that judge the new head and do not fit it."),
    option("--most-lost", type=click.FloatRange(0, 100), metavar="POINTS", default=5.0, show_default=True,
           help="Accuracy that a class, or one value of a group in it, may lose: the fit weighs up groups that would "
           "lose more, and where one does beyond its interval nothing is written."),
    # The settings know a language model by default; here none is asked for unless it is named.
    option("--vlm", metavar="NAME|DIR",
           help="Vision-language model that tells the findings before and after, and reads groups of --balance that "
           "nothing states; names as of run. Default: none, and no findings."),
    *LANGUAGE_OPTIONS[1:],
]  # fmt: skip
TRIM_OPTIONS = [
    click.option("--keep", type=click.Choice(["seen", "projected"]), default="seen", show_default=True,
                 help="seen: one more output beside the logits. projected: in place of the features."),
    click.option("--erase", metavar="GROUP",
                 help="Take a group of the labels out of the features as well, by least-squares concept erasure."),
]  # fmt: skip
REDACT_OPTION = click.option(
    "--redact",
    is_flag=True,
    help="For what leaves the house: no pictures, names of images as short hashes, no paths and no host.",
)
FORCE_OPTION = click.option("--force", is_flag=True, help="Write into a folder that holds other files.")
OUTPUT_OPTIONS = [
    option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True,
           help="What stdout carries; with json, errors are {code, message, hint}."),
    option("--progress", type=click.Choice(["auto", "rich", "plain", "none"]), default="auto", show_default=True,
           help="How progress is shown on stderr."),
    click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; one line where a gate did not pass."),
    click.option("-v", "--verbose", is_flag=True, help="Show the traceback of errors."),
]  # fmt: skip
DEVICE_OPTION = option("--device", metavar="auto|cpu|cuda[:i]", help="Where to compute. [default: auto]")
BATCH_OPTION = option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per batch. Default: 16.")
LIMIT_OPTIONS = [
    option("--model-seconds", type=click.FloatRange(0, 1e6, min_open=True), metavar="N",
           help="Seconds the model's own process may take to open it, or for 16 images. [default: 120]"),
    option("--model-memory", type=click.FloatRange(0, 1e6, min_open=True), metavar="GIB",
           help="Memory that process may take. [default: three quarters of this machine's]"),
]  # fmt: skip
PDF_OPTIONS = [
    option("--pdf-seconds", type=click.FloatRange(0, 1e6, min_open=True), metavar="N", default=180.0, show_default=True,
           help="Seconds the process that draws the PDF may take."),
    option("--pdf-memory", type=click.FloatRange(0, 1e6, min_open=True), metavar="GIB", default=4.0, show_default=True,
           help="Memory that process may take."),
    option("--pdf-appendix", is_flag=True, help="Print every row and group, instead of eight pages at most."),
]  # fmt: skip
MACHINE_OPTIONS = [
    DEVICE_OPTION,
    BATCH_OPTION,
    option("--seed", type=click.IntRange(0), metavar="N", help="Of controls and intervals. [default: 0]"),
    *LIMIT_OPTIONS,
]
CONFIG_OPTIONS = [
    click.option("--config", metavar="FILE", help="TOML file to read instead of singaudit.toml or pyproject.toml."),
    click.option("--isolated", is_flag=True, help="Ignore configuration files."),
]


def output_option(default: str, help_text: str = "Folder of the report.") -> Callable[[Any], Any]:
    """-o, with the folder that is written where nobody names one."""
    return option("-o", "--output", metavar="DIR", default=default, show_default=True, help=help_text)


def report_option(again: bool = False) -> Callable[[Any], Any]:
    """--report, with the formats that the command can write; ``again``: from an earlier result.json."""
    possible = ",".join(line.name for line in FORMATS.values() if line.again or not again)
    return option(
        "--report",
        "formats",
        type=Line(),
        multiple=True,
        metavar="LIST",
        help=f"Which of {possible}. Default: {','.join(usual_formats(again))}, those that can be made.",
    )


def with_options(*groups: list[Callable[[Any], Any]] | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """All options of the groups, in the order in which --help lists them."""
    flat = [each for group in groups for each in (group if isinstance(group, list) else [group])]

    def add(command: Any) -> Any:
        for each in reversed(flat):
            command = each(command)
        return command

    return add


def requested_formats(ctx: click.Context, given: dict[str, Any], again: bool = False) -> tuple[tuple[str, ...], bool]:
    """(formats to write, whether the user named them)."""
    text = merged_settings(ctx, given).get("formats")
    if text is None:
        return usual_formats(again), False
    return chosen_formats([text] if isinstance(text, str) else text, again), True
