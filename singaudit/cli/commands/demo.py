"""singaudit demo: the embedded clean and leaky classifiers, audited and shown side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from singaudit.cli.commands.run import audit_into, pdf_settings, possible_formats
from singaudit.cli.lock import hold
from singaudit.cli.summary import show_result
from singaudit.cli.terminal import Reporter, safe
from singaudit.config import make_config
from singaudit.report.formats.folder import check_output_folder
from singaudit.report.formats.table import usual_formats
from singaudit.report.formats.writer import write_page
from singaudit.report.pages.side_by_side import render_pair

# The demo's two models; both see the same generated images.
DEMO_MODELS = ("clean", "leaky")
DEMO_GATES = ("finding[colour] not in (strong, partial)", "translator.r2.low > 0.1")
DEMO_IMAGES = "shapes:4000:20260316"


def run_demo(settings: dict[str, Any]) -> dict[str, Any]:
    """Audit the embedded clean and leaky classifiers and write their reports and the page beside them."""
    output, force = Path(settings["output"]), bool(settings.get("force"))
    check_output_folder(output, force=force, folders=DEMO_MODELS, pages=("index.html",))
    hold(output)
    wanted = usual_formats(), False
    pdf = pdf_settings(settings, wanted)
    quiet = bool(settings.get("quiet"))
    results = []
    for name in DEMO_MODELS:
        config = make_config(
            model=f"builtin:{name}",
            images=DEMO_IMAGES,
            vlm="builtin:shapes",
            gates=DEMO_GATES,
            toward="colour",
        )
        with (
            possible_formats(wanted, pdf) as formats,
            Reporter("none" if quiet else settings["progress"], title=f"The {name} classifier") as reporter,
        ):
            found, files = audit_into(config, output / name, formats, force, reporter, ["demo"], pdf)
            wanted = formats(), False  # what cannot be written is said once
        results.append(found.result)
        if not quiet and settings.get("output_format") != "json":
            show_result(found.result, files=files)
            print()
    links = [f"{name}/report.html" for name in DEMO_MODELS]
    page = write_page(
        render_pair(results, links, "What two classifiers of the same shapes ignore"), output, "index.html"
    )
    if not quiet and settings.get("output_format") != "json":
        print(f"Both reports side by side: {safe(str(page), 4096)}")
    if settings.get("open_page"):
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return {
        "page": str(page),
        "reports": {name: str(output / name) for name in DEMO_MODELS},
        "verdicts": {name: r.verdict.status for name, r in zip(DEMO_MODELS, results, strict=True)},
        "findings": {
            name: {f.group: f.finding for f in r.findings} for name, r in zip(DEMO_MODELS, results, strict=True)
        },
    }
