"""Click at the edge: commands parse, make one call, show the outcome, and choose the exit code."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import click

from singaudit.cli.command import Command, CommandGroup
from singaudit.cli.options import (
    ARRAYS_OPTION,
    BATCH_OPTION,
    CACHE_OPTIONS,
    CLASSES_OPTION,
    CONFIG_OPTIONS,
    DEVICE_OPTION,
    ENGINE_OPTIONS,
    FORCE_OPTION,
    GATE_OPTIONS,
    GEOMETRY_OPTION,
    IMAGE_OPTIONS,
    IMAGES_ONLY,
    LANGUAGE_OPTIONS,
    LIMIT_OPTIONS,
    MACHINE_OPTIONS,
    MODEL_OPTIONS,
    NEW_MODEL_OPTIONS,
    OUTPUT_OPTIONS,
    PACK_FILE_OPTIONS,
    PACK_OPTION,
    PDF_OPTIONS,
    PHOTO_PICTURE_OPTIONS,
    PICTURE_OPTIONS,
    PROBE_OPTION,
    REDACT_OPTION,
    REFIT_OPTIONS,
    TRANSLATOR_OPTION,
    TRANSLATOR_OUTPUT,
    TRIM_OPTIONS,
    VLM_OPTIONS,
    option,
    output_option,
    report_option,
    requested_formats,
    with_options,
)
from singaudit.cli.outcome import Outcome
from singaudit.cli.settings import merged_settings
from singaudit.version import __version__


@click.group(cls=CommandGroup, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="singaudit")
def main() -> None:
    """Audit what an image classifier's head silently ignores, before you deploy it.

    Exit codes: 0 gates passed or none set, 1 a gate failed, 2 wrong input, 3 the machine failed, 4 inconclusive.
    """
    # What libraries warn of while threads decode hostile images is theirs; ours is said in the result.
    warnings.simplefilter("ignore")


@main.command(
    cls=Command, example="singaudit run model.onnx --classes dog,cat --images photos/ --gate default -o audit/"
)
@click.argument("model", required=False)
@with_options(
    CLASSES_OPTION, MODEL_OPTIONS, IMAGE_OPTIONS, PROBE_OPTION, ARRAYS_OPTION, GEOMETRY_OPTION,
    LANGUAGE_OPTIONS, TRANSLATOR_OPTION, PACK_OPTION,
    PICTURE_OPTIONS, GATE_OPTIONS,
    output_option("singaudit-out"), report_option(), REDACT_OPTION, FORCE_OPTION, OUTPUT_OPTIONS, MACHINE_OPTIONS,
    PDF_OPTIONS,
    CACHE_OPTIONS, ENGINE_OPTIONS,
    CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> None:
    """Audit MODEL: geometry, scores, controls, findings, gates and a report.

    Without images only the geometry is audited, and the exit code is 4.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.run import run_audit

        code, result, files = run_audit(
            outcome.heeds(merged_settings(ctx, given)), requested_formats(ctx, given), sys.argv[1:]
        )
        outcome.done(result, code, files, exit_zero=given["exit_zero"])


@main.command(cls=Command, example="singaudit inspect model.onnx --format json")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@with_options(
    MODEL_OPTIONS,
    click.option("--thorough", is_flag=True, help="Certify the copy on 16 images and 4 gradients, not on 2 and 1."),
    OUTPUT_OPTIONS,
    DEVICE_OPTION,
    LIMIT_OPTIONS,
    CONFIG_OPTIONS,
)
@click.pass_context
def inspect(ctx: click.Context, /, **given: Any) -> None:
    """Show MODEL's head, null space and certificate; no images, no language model.

    Of several models each is shown; with --format json they are one array. One that cannot be read is said where it
    stands, and the exit code is that of the worst.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.inspect import describe, inspect_file, inspect_files

        settings = outcome.heeds(merged_settings(ctx, given))
        models = given["models"]
        if len(models) == 1:
            facts = inspect_file({**settings, "model": models[0]})
            outcome.print(facts, lambda: describe(facts, models[0]))
        else:
            found, code = inspect_files(settings, models, outcome.say)
            outcome.print(found, lambda: None, code)


@main.command(cls=Command, example="singaudit demo --open")
@with_options(
    output_option("singaudit-demo", "Folder of the reports."),
    FORCE_OPTION,
    click.option("--open", "open_page", is_flag=True, help="Open the page in a browser when done."),
    OUTPUT_OPTIONS,
    PDF_OPTIONS,
)
def demo(**given: Any) -> None:
    """Audit a clean and a leaky classifier of the embedded world, offline, side by side.

    Exits 0 when it ran, whatever the verdicts.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.demo import run_demo

        outcome.print(run_demo(given), lambda: None)


@main.command(cls=Command, example="singaudit calibrate --quick -o calibration/")
@with_options(
    output_option("singaudit-calibration", "Folder of calibration.json and calibration.md."),
    FORCE_OPTION,
    click.option("--quick", is_flag=True, help="One world of every setting, no model of images: only a look."),
    click.option(
        "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, metavar="N", help="Of all worlds."
    ),
    OUTPUT_OPTIONS,
)
def calibrate(**given: Any) -> None:
    """Audit models with planted answers and count what the findings get right and wrong.

    Exits 0 when it ran, whatever the rates. A few minutes on two cores.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.calibrate import run_calibration

        outcome.print(run_calibration(given), lambda: None)


@main.command(cls=Command, example="singaudit report singaudit-out/result.json -o again/")
@click.argument("result")
@with_options(
    output_option("singaudit-report"),
    report_option(again=True),
    REDACT_OPTION,
    FORCE_OPTION,
    OUTPUT_OPTIONS,
    PDF_OPTIONS,
)
@click.pass_context
def report(ctx: click.Context, /, **given: Any) -> None:
    """Render the report again from an earlier RESULT.json, without inference."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.report import render_again

        outcome.print(render_again(given, requested_formats(ctx, given, again=True)), lambda: None)


@main.command(cls=Command, example="singaudit card singaudit-out/result.json README.md")
@click.argument("result")
@click.argument("card", metavar="README.md")
@with_options(
    click.option("--check", is_flag=True, help="Write nothing; exit 4 where the section is not this result's."),
    click.option("--remove", is_flag=True, help="Take the section out again, with the files it links to."),
    click.option("--annex-iv", is_flag=True, help="Add the date of the audit and lines to name and sign."),
    click.option("--responsible", metavar="NAME", help="Who answers for the audit, with --annex-iv."),
    REDACT_OPTION,
    OUTPUT_OPTIONS,
)
def card(**given: Any) -> None:
    """Write the audit's section into a model card: a README.md, or the folder of a local clone.

    Below the heading "Model Examination" where the card has it, else at the end; every other byte stays as it is. A
    picture and report.pdf are put beside it in singaudit/. Nothing is pushed anywhere.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.terminal import safe
        from singaudit.report.card.update import update_card

        code, facts = update_card(given)
        written = "".join(f"\n  wrote {safe(name)}" for name in facts["changed"]) or "; nothing was written"
        outcome.print(facts, lambda: click.echo(f"{safe(facts['card'], 4096)} {facts['state']}{written}"), code)


@main.command(
    cls=Command, example="singaudit pack --images photos/ --concepts words.txt --classes dog,cat -o probe.pack"
)
@with_options(
    CLASSES_OPTION, IMAGE_OPTIONS, LANGUAGE_OPTIONS, PACK_FILE_OPTIONS,
    click.option("--force", is_flag=True, help="Replace a file that is not a pack."), OUTPUT_OPTIONS, DEVICE_OPTION,
    BATCH_OPTION, CACHE_OPTIONS, CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def pack(ctx: click.Context, /, **given: Any) -> None:
    """Store embeddings of images and texts in one file; run --pack then needs no language model."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.pack import make_pack, show_pack

        facts = make_pack(outcome.heeds(merged_settings(ctx, given)))
        outcome.print(facts, lambda: show_pack(facts))


@main.command(cls=Command, example="singaudit features model.onnx --images photos/ --shard 1/4 --cache /shared/cache")
@click.argument("model")
@with_options(
    CLASSES_OPTION, MODEL_OPTIONS, IMAGES_ONLY, LANGUAGE_OPTIONS,
    option("--shard", metavar="I/N", default="1/1", show_default=True,
           help="Part I of N: a stretch of the images in their order, and every N-th text."),
    OUTPUT_OPTIONS, MACHINE_OPTIONS, CACHE_OPTIONS, ENGINE_OPTIONS, CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def features(ctx: click.Context, /, **given: Any) -> None:
    """Fill the cache with MODEL's features and the embeddings of one part of the images, on any machine.

    A run on all the images with the same cache then only reads, and gives the same result.json. A part may be killed
    and started again; parts may run side by side on one shared cache, or be copied together with cache merge.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.features import fill, show

        facts = fill(outcome.heeds(merged_settings(ctx, given)))
        outcome.print(facts, lambda: show(facts))


@main.command(cls=Command, example="singaudit compare a.onnx b.onnx --images photos/ -o compared/")
@click.argument("targets", nargs=-1, required=True, metavar="A B [C ...]")
@with_options(
    CLASSES_OPTION, MODEL_OPTIONS, IMAGE_OPTIONS, PROBE_OPTION, LANGUAGE_OPTIONS, PACK_OPTION,
    click.option("--anyway", is_flag=True, help="Compare audits of other images or language models too."),
    output_option("singaudit-compare", "Folder of the page and of new reports."), FORCE_OPTION, OUTPUT_OPTIONS,
    MACHINE_OPTIONS, PDF_OPTIONS, CACHE_OPTIONS, CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def compare(ctx: click.Context, /, **given: Any) -> None:
    """Compare models, or earlier results (result.json), on the same images.

    Findings and gates that differ first; then scores, by the paper's IS / |AS| and adjusted for null dimension and
    removed energy. Writes a page and compare.json.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.compare import compare_targets, show

        found, files = compare_targets(outcome.heeds(merged_settings(ctx, given)), sys.argv[1:])
        outcome.print(found.model_dump(mode="json"), lambda: show(found), files=files)


@main.command(
    cls=Command, example='singaudit image model.onnx photo.jpg --images photos/ --toward "a photo of a blue shape"'
)
@click.argument("model")
@click.argument("photo")
@with_options(
    CLASSES_OPTION, MODEL_OPTIONS, IMAGES_ONLY, LANGUAGE_OPTIONS, TRANSLATOR_OPTION, PHOTO_PICTURE_OPTIONS,
    output_option("singaudit-image", "Folder of the page."), FORCE_OPTION, OUTPUT_OPTIONS, MACHINE_OPTIONS,
    CACHE_OPTIONS, CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def image(ctx: click.Context, /, **given: Any) -> None:
    """Show what MODEL's head ignores of PHOTO: scores, words, neighbours, and a page.

    The translator is fitted on --images once and kept in the cache, or comes from --translator. With --toward,
    equivalents are made of the photo and checked by the deployed model; the exit code is 4 where none could be tried or
    most attempts failed.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.image import describe_image
        from singaudit.cli.image_text import show

        code, result, files = describe_image(outcome.heeds(merged_settings(ctx, given)))
        outcome.print(result.model_dump(mode="json"), lambda: show(result), code, files)


@main.command(
    cls=Command,
    example="singaudit refit model.onnx --images photos/ --labels labels.csv --balance class,colour -o new.onnx",
)
@click.argument("model")
@with_options(
    CLASSES_OPTION, MODEL_OPTIONS, IMAGE_OPTIONS, REFIT_OPTIONS, NEW_MODEL_OPTIONS, OUTPUT_OPTIONS,
    MACHINE_OPTIONS, CACHE_OPTIONS, CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def refit(ctx: click.Context, /, **given: Any) -> None:
    """Fit MODEL's last layer anew on labelled images, and judge it on images it did not see.

    For a head that ignores what its features know. The new file is the old one with other numbers in its head. Nothing
    is written, and the exit code is 4, where nothing is gained, accuracy falls, or a class or group loses.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.refit import refit_file, show

        settings = outcome.heeds(merged_settings(ctx, given))
        code, result = refit_file(settings)
        outcome.print(result.model_dump(mode="json"), lambda: show(result, settings["new_model"]), code)


@main.command(cls=Command, example="singaudit trim model.onnx --images photos/ -o seen.onnx")
@click.argument("model")
@with_options(
    CLASSES_OPTION, MODEL_OPTIONS, IMAGE_OPTIONS, TRIM_OPTIONS, NEW_MODEL_OPTIONS, OUTPUT_OPTIONS, MACHINE_OPTIONS,
    CACHE_OPTIONS, CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def trim(ctx: click.Context, /, **given: Any) -> None:
    """Copy MODEL with only what its logits see of the features, for whoever stores them.

    The copy is proved through ONNX Runtime, on images where there are some. What the logits see can still be read: this
    is no erasure. Nothing is written, and the exit code is 4, where the proof fails or nothing is ignored.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.trim import show, trim_file

        settings = outcome.heeds(merged_settings(ctx, given))
        code, result = trim_file(settings)
        outcome.print(result.model_dump(mode="json"), lambda: show(result, settings["new_model"]), code)


@main.group(cls=CommandGroup)
def translator() -> None:
    """Fit, import or show the map from features to meaning, kept as a file."""


@translator.command(
    "fit", cls=Command, example="singaudit translator fit model.onnx --images photos/ -o model.translator.safetensors"
)
@click.argument("model")
@with_options(
    CLASSES_OPTION, MODEL_OPTIONS, IMAGES_ONLY, VLM_OPTIONS, TRANSLATOR_OUTPUT, FORCE_OPTION, OUTPUT_OPTIONS,
    MACHINE_OPTIONS, CACHE_OPTIONS, CONFIG_OPTIONS,
)  # fmt: skip
@click.pass_context
def translator_fit(ctx: click.Context, /, **given: Any) -> None:
    """Fit MODEL's translator on images, and keep it with its fidelity.

    Use it with run --translator on other images: those it was fitted on are left out of the audit.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.translator import describe, fit_file

        facts = fit_file(outcome.heeds(merged_settings(ctx, given)))
        outcome.print(facts, lambda: describe(facts))


@translator.command(
    "import", cls=Command, example="singaudit translator import densenet/linear -o densenet.safetensors"
)
@click.argument("folder")
@with_options(TRANSLATOR_OUTPUT, FORCE_OPTION, OUTPUT_OPTIONS)
def translator_import(**given: Any) -> None:
    """Take a translator published with the paper from its FOLDER (metadata.yaml and a state dict)."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.translator import describe, import_folder

        facts = import_folder(given)
        outcome.print(facts, lambda: describe(facts))


@translator.command("show", cls=Command, example="singaudit translator show model.translator.safetensors")
@click.argument("file")
@with_options(OUTPUT_OPTIONS)
def translator_show(**given: Any) -> None:
    """Show which model and encoder FILE belongs to, and how well it reads."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.translator import describe, show_file

        facts = show_file(given)
        outcome.print(facts, lambda: describe(facts))


@main.group(cls=CommandGroup)
def concepts() -> None:
    """Concept files: what a language model can read of them."""


@concepts.command(
    "check",
    cls=Command,
    example="singaudit concepts check concepts.toml --images photos/",
)
@click.argument("file")
@with_options(
    IMAGE_OPTIONS,
    VLM_OPTIONS,
    OUTPUT_OPTIONS,
    DEVICE_OPTION,
    BATCH_OPTION,
    CACHE_OPTIONS,
    CONFIG_OPTIONS,
)
@click.pass_context
def concepts_check(ctx: click.Context, /, **given: Any) -> None:
    """Say which groups and values of the concept FILE the language model reads on these images, before an audit.

    Looks at the first 500 images, or --limit N; no classifier is needed.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.concepts import check, show

        facts = check(outcome.heeds(merged_settings(ctx, given)))
        outcome.print(facts, lambda: show(facts))


@main.group(cls=CommandGroup)
def vlm() -> None:
    """Vision-language models: fetch one beforehand, list those that are here."""


@vlm.command(cls=Command, example="singaudit vlm pull openai/clip-vit-large-patch14 -o clip/")
@click.argument("name")
@with_options(
    click.option("-o", "--output", metavar="DIR", help="Copy the model's files here, for a machine without internet."),
    OUTPUT_OPTIONS,
)
def pull(**given: Any) -> None:
    """Download the model NAME (ORG/NAME[@REVISION] or open_clip:...): the files needed, of one commit, checked."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.vlm import pull as pull_model
        from singaudit.cli.commands.vlm import show_pull

        facts = pull_model(given)
        outcome.print(facts, lambda: show_pull(facts))


@vlm.command("list", cls=Command, example="singaudit vlm list")
@with_options(OUTPUT_OPTIONS)
def list_models(**given: Any) -> None:
    """List the vision-language models in the hub's cache."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.vlm import here, show_here

        facts = here()
        outcome.print(facts, lambda: show_here(facts))


@main.group(cls=CommandGroup)
def cache() -> None:
    """What earlier audits computed of images and texts: show it, merge it, clear it."""


@cache.command("show", cls=Command, example="singaudit cache show")
@with_options(CACHE_OPTIONS[:1], OUTPUT_OPTIONS)
def cache_show(**given: Any) -> None:
    """Show where features and embeddings are kept, and how many bytes of them."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.cache import describe, what_is_kept

        facts = what_is_kept(given)
        outcome.print(facts, lambda: describe(facts))


@cache.command("clear", cls=Command, example="singaudit cache clear")
@with_options(CACHE_OPTIONS[:1], OUTPUT_OPTIONS)
def cache_clear(**given: Any) -> None:
    """Remove all of it; files that singaudit did not write there stay."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.cache import clear_all

        facts = clear_all(given)
        outcome.print(facts, lambda: click.echo(f"Removed {facts['removed_bytes'] / 1e6:,.1f} MB."))


@cache.command("merge", cls=Command, example="singaudit cache merge part1/ part2/ --cache whole/")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER [FOLDER ...]")
@with_options(CACHE_OPTIONS[:1], OUTPUT_OPTIONS)
def cache_merge(**given: Any) -> None:
    """Copy into the cache what others, filled by singaudit features on other machines, hold.

    What was made by other versions or on other processors is told and not used.
    """
    with Outcome(given) as outcome:
        from singaudit.cli.commands.cache import describe_merge, merge_all

        facts = merge_all(given, given["folders"])
        outcome.print(facts, lambda: describe_merge(facts))


@main.command(cls=Command, example="singaudit schema > result.schema.json")
def schema() -> None:
    """Print the JSON Schema of result.json."""
    from singaudit.report.result.audit import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@main.command(cls=Command, example="singaudit doctor")
@with_options(
    click.option("--thorough", is_flag=True, help="Import torchvision and open the built-in language model, too."),
    OUTPUT_OPTIONS,
)
def doctor(**given: Any) -> None:
    """Say what works on this machine and how to mend what does not."""
    with Outcome(given) as outcome:
        from singaudit.cli.commands.doctor import examine, show

        facts = examine(bool(given["thorough"]))
        outcome.print(facts, lambda: show(facts))
