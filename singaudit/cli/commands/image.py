"""singaudit image: one image, what the head ignores of it, in words and beside its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from singaudit.cli.commands.run import config_from
from singaudit.cli.lock import hold
from singaudit.cli.terminal import Reporter
from singaudit.dataset.sources.one_file import open_file
from singaudit.errors import ExitCode
from singaudit.pipeline.photo import PAGE, check_photo_settings, describe_photo
from singaudit.report.formats.folder import check_output_folder
from singaudit.report.formats.writer import write_page
from singaudit.report.pages.image import render_image
from singaudit.report.result.image import ImageResult
from singaudit.report.result.pictures import GenerationPart


def describe_image(settings: dict[str, Any]) -> tuple[int, ImageResult, list[Path]]:
    """Describe ``photo`` and write its page. Returns the exit code, the result and the page.

    Raises ``SingauditError``.
    """
    config = config_from(settings)
    check_photo_settings(config)
    photo = open_file(Path(settings["photo"]))
    output = Path(settings["output"])
    check_output_folder(output, force=bool(settings.get("force")), pages=(PAGE,))
    hold(output)
    with Reporter("none" if settings.get("quiet") else settings["progress"]) as progress:
        result, files = describe_photo(config, photo, progress)
    page = write_page(render_image(result), output, PAGE, files)
    return ExitCode.INCONCLUSIVE if _undecided(result.generation) else ExitCode.PASSED, result, [page]


def _undecided(generation: GenerationPart | None) -> bool:
    """True where equivalents were asked for and nothing can be said: none was tried, or most failed."""
    if generation is None or generation.asked == 0 or generation.shown_already:
        return False
    tried = generation.success
    return tried is None or (generation.null_move is not None and tried.value < 0.5)
