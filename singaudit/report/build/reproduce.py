"""What is needed to run the same audit again: command line, seed, versions, devices."""

from __future__ import annotations

from singaudit.classifier.graph.session import providers
from singaudit.config import AuditConfig
from singaudit.machine import arithmetic, torch_device
from singaudit.report.result.audit import Reproduce
from singaudit.version import __version__

_PACKAGES = ("numpy", "onnx", "onnxruntime", "torch", "transformers", "pillow")
_OTHERWISE = ("model", "classes", "classes_from", "gates", "waivers")
"""Written in another way."""
_WHERE = ("cache", "engine", "ray_address", "ray_actors", "ray_cpus", "ray_gpus")
"""Where numbers are computed and kept: they are the same to the bit."""


def reproduce(config: AuditConfig) -> Reproduce:
    """Command line, seed, versions and devices that give the same result again."""
    from importlib import metadata

    versions = {"singaudit": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = metadata.version("onnxruntime-gpu") if package == "onnxruntime" else "unknown"
    return Reproduce(
        command=command_line(config),
        seed=config.seed,
        precision=config.precision,
        versions=versions,
        devices={"onnxruntime": _named(providers(config.device)[0]), "torch": _named(torch_device(config.device))},
    )


def _named(device: str) -> str:
    """A device or execution provider, with the card's name."""
    return f"{device} ({arithmetic(device)})" if device.lower().startswith("cuda") else device


def command_line(config: AuditConfig) -> str:
    """The shell command that runs this audit, without settings at their default and those that change no number."""
    import shlex

    words = ["singaudit", "run"] + ([config.model] if config.arrays is None else [])
    if config.classes is not None:
        words += ["--classes", config.classes_from or ",".join(config.classes)]
    for name, field in AuditConfig.model_fields.items():
        value = getattr(config, name)
        if name in _OTHERWISE + _WHERE or value == field.default:
            continue
        words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    for gate in config.gates:
        words += ["--gate", gate.written()]
    return shlex.join(words)
