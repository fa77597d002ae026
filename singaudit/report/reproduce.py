"""What is needed to run the same audit again: command line, seed, versions."""

from __future__ import annotations

from singaudit import __version__
from singaudit.config import AuditConfig
from singaudit.report.result import Reproduce

_PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "transformers", "pillow")


def reproduce(config: AuditConfig) -> Reproduce:
    """Command line, seed and versions that give the same result again."""
    from importlib import metadata

    versions = {"singaudit": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = metadata.version("onnxruntime-gpu") if package == "onnxruntime" else "unknown"
    return Reproduce(command=command_line(config), seed=config.seed, precision=config.precision, versions=versions)


def command_line(config: AuditConfig) -> str:
    """The shell command that runs this audit, without settings at their default and those that change no number."""
    import shlex

    words = ["singaudit", "run", config.model]
    if config.classes is not None:
        words += ["--classes", config.classes_from or ",".join(config.classes)]
    for name, field in AuditConfig.model_fields.items():
        value = getattr(config, name)
        if name in ("model", "classes", "classes_from", "gates", "cache") or value == field.default:
            continue
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    for gate in config.gates:
        words += ["--gate", gate]
    return shlex.join(words)
