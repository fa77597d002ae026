"""``singaudit doctor``: what works on this machine, and how to mend what does not."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from singaudit.cache.store import MAX_BYTES, cache_bytes, cache_folder
from singaudit.classifier.graph.session import why_unusable
from singaudit.errors import SingauditError
from singaudit.language.encoders.table import BUILTIN, DEFAULT, builtin_folder
from singaudit.machine import cores, memory
from singaudit.report.formats.pdf import pdf_available
from singaudit.version import __version__

_PACKAGES = (
    "numpy",
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "onnx",
    "onnxruntime-gpu",
    "onnxruntime",
    "pillow",
    "weasyprint",
)
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")
_NAME = re.compile(r"[\w.-]+")
_FEW_GIB = 2.0
"""Free space below which large audits, whose features go to a temporary file, may not fit."""


def examine(thorough: bool = False) -> dict[str, Any]:
    """Versions and checks as plain data: each check has ``name``, ``ok``, ``found`` and ``mend``.

    ``thorough``: libraries that take seconds are imported, and the built-in language model is opened.
    """
    slow = (_torchvision_imports, _builtin_opens) if thorough else (_torchvision, _builtin)
    checks = (
        _runtime, _cuda_runtime, _gpu, *slow, _pdf, _default_encoder, _cached_encoders, _hub_folder, _cache, _temporary,
        _extras,
    )  # fmt: skip
    return {
        "singaudit": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": cores(),
        "memory_gib": round(found / 2**30, 1) if (found := memory()) else None,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "checks": [_surely(check) for check in checks],
    }


def _surely(check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The check's outcome; one that fails itself is what a doctor is there to say."""
    try:
        return check()
    except Exception as error:
        name = check.__name__.strip("_").replace("_", " ")
        return _check(name, False, f"{type(error).__name__}: {error}", "reinstall singaudit in a fresh environment")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _check(name: str, ok: bool, found: str, mend: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "mend": "" if ok else mend}


def _runtime() -> dict[str, Any]:
    """That ONNX Runtime is there once and opens a model."""
    both = [p for p in ("onnxruntime", "onnxruntime-gpu") if _version(p)]
    try:
        import onnxruntime
    except ImportError as error:
        return _check(
            "ONNX Runtime", False, str(error), "pip install 'singaudit[cpu]', or 'singaudit[gpu]' for an NVIDIA card"
        )
    if len(both) > 1:
        return _check(
            "ONNX Runtime",
            False,
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then install one of them",
        )
    if (reason := why_unusable("CPUExecutionProvider")) is not None:
        return _check(
            "ONNX Runtime",
            False,
            reason,
            "install it anew: pip install --force-reinstall onnxruntime (or onnxruntime-gpu, for a card)",
        )
    offered = ", ".join(onnxruntime.get_available_providers())
    return _check("ONNX Runtime", True, f"opens models on the CPU; offers {offered}")


def _cuda_runtime() -> dict[str, Any]:
    """Whether the CUDA provider, where it is offered and a GPU is there, really loads."""
    name = "ONNX Runtime on the GPU"
    if not os.path.exists("/dev/nvidiactl") and os.name == "posix":
        return _check(name, True, "no GPU here")
    mend = "pip install 'singaudit[gpu]', or run with --device cpu"
    reason = why_unusable("CUDAExecutionProvider")
    return _check(name, True, "opens models") if reason is None else _check(name, False, reason, mend)


def _gpu() -> dict[str, Any]:
    if os.name == "posix" and not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):
        return _check("GPU", True, "none; everything runs on the CPU")
    import torch

    if torch.cuda.is_available():
        return _check("GPU", True, torch.cuda.get_device_name(0))
    if os.path.exists("/dev/nvidiactl"):
        built = torch.version.cuda or "no CUDA"
        return _check(
            "GPU",
            False,
            f"a GPU is here, but torch {torch.__version__}, built for {built}, cannot use it",
            "install a torch built for this driver's CUDA, or run with --device cpu",
        )
    return _check("GPU", True, "none; everything runs on the CPU")


def _torchvision() -> dict[str, Any]:
    """torchvision is needed for its own models alone; a build for another torch is told."""
    found = _version("torchvision")
    if found is None:
        return _check("torchvision", True, "not installed; only torchvision:NAME models need it")
    return _check("torchvision", True, f"{found}, beside torch {_version('torch')}")


def _torchvision_imports() -> dict[str, Any]:
    if _version("torchvision") is None:
        return _torchvision()
    from singaudit.torchvision_import import import_torchvision

    import_torchvision()
    return _check("torchvision", True, f"{_version('torchvision')} can be imported")


def _pdf() -> dict[str, Any]:
    reason = pdf_available()
    return _check(
        "PDF",
        reason is None,
        reason or "WeasyPrint with pango",
        "install pango, e.g. apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
    )


def _builtin() -> dict[str, Any]:
    """That its files are whole; ``--thorough`` opens it."""
    from singaudit.classifier.files.folder import check_safetensors

    try:
        held = check_safetensors(builtin_folder() / "model.safetensors")
    except (SingauditError, OSError) as error:
        return _check("built-in language model", False, str(error), "reinstall singaudit")
    return _check("built-in language model", True, f"{BUILTIN}, {held.numbers:,} weights")


def _builtin_opens() -> dict[str, Any]:
    try:
        from singaudit.language.encoders.table import open_encoder

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
        "default language model",
        False,
        f"{DEFAULT} is not cached{offline}",
        "it is downloaded at the first audit (1.7 GB) or by singaudit vlm pull; offline pass --vlm DIR or --pack FILE",
    )


def _cached_encoders() -> dict[str, Any]:
    """CLIP and SigLIP models in the hub's cache, ready for use without a network."""
    from singaudit.language.encoders.local import cached_models

    found = [f"{name} ({commit[:8]}, {size / 2**30:.1f} GiB)" for name, commit, size in cached_models()]
    return _check(
        "cached language models", True, ", ".join(found) or "none; pass --vlm DIR, or a pack, without internet"
    )


def _hub_folder() -> dict[str, Any]:
    from huggingface_hub.constants import HF_HUB_CACHE

    return _check("the hub's cache", *_writable(Path(HF_HUB_CACHE)), "set HF_HOME to a folder that can be written")


def _cache() -> dict[str, Any]:
    """Where features and embeddings are kept, how much it is, and how to be rid of it."""
    folder = cache_folder("auto")
    if folder is None:
        return _check("cache of features and embeddings", True, "turned off by SINGAUDIT_CACHE=none")
    ok, found = _writable(folder)
    size = cache_bytes(folder) if folder.is_dir() else 0
    found += f"; {size / 2**20:.0f} MiB of at most {MAX_BYTES / 2**30:.0f} GiB; singaudit cache clear empties it"
    return _check("cache of features and embeddings", ok, found, "set SINGAUDIT_CACHE to a folder that can be written")


def _temporary() -> dict[str, Any]:
    """Features of many images go to a temporary file."""
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{folder}, {free:.0f} GiB free"
    return _check("temporary files", free > _FEW_GIB, found, "free space, or set TMPDIR to another disk")


def _extras() -> dict[str, Any]:
    """What is installed of the extras that an installation may leave out."""
    try:
        required = metadata.requires("singaudit") or []
    except metadata.PackageNotFoundError:
        return _check("extras", False, "singaudit is not installed as a package", "pip install '.[cpu]'")
    extras: dict[str, list[str]] = {}
    for line in required:
        if found := _EXTRA.search(line):
            extras.setdefault(found[1], []).append(_NAME.match(line)[0])  # type: ignore[index]
    words = [
        f"{name} is there" if all(_version(p) for p in packages) else f"{name} is not (pip install 'singaudit[{name}]')"
        for name, packages in sorted(extras.items())
        if name not in ("dev", "bench")
    ]
    return _check("extras", True, ", ".join(words) or "there are none")


def _writable(folder: Path) -> tuple[bool, str]:
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    try:  # some folders refuse files whatever their permission bits say
        with tempfile.TemporaryFile(dir=parent):
            ok = True
    except OSError:
        ok = False
    return ok, f"{folder} {'can' if ok else 'cannot'} be written"


def show(facts: dict[str, Any]) -> None:
    """Print the facts of ``examine`` for people."""
    from rich.text import Text

    from singaudit.cli.terminal import console, safe

    out = console(sys.stdout)
    memory = f", {facts['memory_gib']:g} GiB" if facts["memory_gib"] else ""
    machine = f"{facts['platform']}, {facts['cores']} cores{memory}"
    out.print(f"singaudit {facts['singaudit']}, Python {facts['python']}, {machine}")
    out.print("packages: " + ", ".join(f"{name} {version}" for name, version in facts["packages"].items()))
    for check in facts["checks"]:
        mark = Text("✓ ", style="green") if check["ok"] else Text("! ", style="yellow")
        out.print(mark, f"{check['name']}: {safe(check['found'], 600)}", sep="")
        if check["mend"]:
            out.print(f"    to mend: {safe(check['mend'])}")
