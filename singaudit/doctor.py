"""``singaudit doctor``: what works on this machine, and how to mend what does not."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from singaudit import __version__
from singaudit.language.encoder import BUILTIN, DEFAULT
from singaudit.report.pdf import pdf_available

_PACKAGES = ("numpy", "torch", "transformers", "onnx", "onnxruntime-gpu", "onnxruntime", "pillow", "weasyprint")


def examine() -> dict[str, Any]:
    """Versions and checks as plain data: each check has ``name``, ``ok``, ``found`` and ``mend``."""
    return {
        "singaudit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "checks": [_runtime(), _gpu(), _pdf(), _builtin(), _default_encoder(), _cache()],
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check(name: str, ok: bool, found: str, mend: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "mend": "" if ok else mend}


def _runtime() -> dict[str, Any]:
    both = [p for p in ("onnxruntime", "onnxruntime-gpu") if _version(p)]
    try:
        import onnxruntime

        found = ", ".join(onnxruntime.get_available_providers())
    except ImportError as error:
        return _check("ONNX Runtime", False, str(error), "pip install onnxruntime-gpu (Linux, Windows) or onnxruntime")
    if len(both) > 1:
        return _check(
            "ONNX Runtime", False, "onnxruntime and onnxruntime-gpu are both installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then install one of them",
        )  # fmt: skip
    return _check("ONNX Runtime", True, found)


def _gpu() -> dict[str, Any]:
    import torch

    if torch.cuda.is_available():
        return _check("GPU", True, torch.cuda.get_device_name(0))
    return _check("GPU", True, "none; everything runs on the CPU")


def _pdf() -> dict[str, Any]:
    reason = pdf_available()
    return _check("PDF", reason is None, reason or "WeasyPrint with pango", "install pango, e.g. "
                  "apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0")  # fmt: skip


def _builtin() -> dict[str, Any]:
    try:
        from singaudit.language.encoder import open_encoder

        encoder = open_encoder(BUILTIN)
    except Exception as error:
        return _check("built-in language model", False, str(error), "reinstall singaudit")
    return _check("built-in language model", True, f"{BUILTIN}, {encoder.family}, {encoder.embedding_dim} dimensions")


def _default_encoder() -> dict[str, Any]:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(DEFAULT, "config.json")
    if isinstance(cached, str):
        return _check("default language model", True, f"{DEFAULT} is cached")
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return _check(
        "default language model", False, f"{DEFAULT} is not cached{offline}",
        "it is downloaded at the first audit (1.7 GB); without internet pass --vlm DIR",
    )  # fmt: skip


def _cache() -> dict[str, Any]:
    folder = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    ok = os.access(parent, os.W_OK)
    return _check("model cache", ok, f"{folder} {'can' if ok else 'cannot'} be written", "set HF_HOME to a folder "
                  "that can be written")  # fmt: skip


def show(facts: dict[str, Any]) -> None:
    """Print the facts of ``examine`` for people."""
    from rich.text import Text

    from singaudit.terminal import console, safe

    out = console(sys.stdout)
    out.print(f"singaudit {facts['singaudit']}, Python {facts['python']}, {facts['platform']}, {facts['cores']} cores")
    out.print("packages: " + ", ".join(f"{name} {version}" for name, version in facts["packages"].items()))
    for check in facts["checks"]:
        mark = Text("✓ ", style="green") if check["ok"] else Text("! ", style="yellow")
        out.print(mark, f"{check['name']}: {safe(check['found'])}", sep="")
        if check["mend"]:
            out.print(f"    to mend: {safe(check['mend'])}")
