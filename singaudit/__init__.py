"""singaudit: audit what an image classifier's head silently ignores, before you deploy it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from singaudit.version import __version__

if TYPE_CHECKING:
    from singaudit.classifier.own_network import export
    from singaudit.classifier.shadow.module import shadow_copy
    from singaudit.config import AuditConfig
    from singaudit.errors import SingauditError
    from singaudit.pipeline.arrays.audit import audit_arrays
    from singaudit.pipeline.audit import Audit, audit
    from singaudit.pipeline.repair import RefitOptions, refit
    from singaudit.pipeline.trim import TrimOptions, trim
    from singaudit.report.result.audit import AuditResult

__all__ = [
    "Audit",
    "AuditConfig",
    "AuditResult",
    "RefitOptions",
    "SingauditError",
    "TrimOptions",
    "__version__",
    "audit",
    "audit_arrays",
    "export",
    "refit",
    "shadow_copy",
    "trim",
]

# Before any library is imported, in this process and in those it starts: ONNX Runtime's wheels report to their maker
# over the network and write an identifier below ~/.cache unless they find this in the environment; turning it off by a
# call is too late. The others count imports and downloads.
os.environ.update(
    ORT_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_TELEMETRY="1", HF_UPDATE_DOWNLOAD_COUNTS="0", DO_NOT_TRACK="1"
)

# torch's threads, ONNX Runtime's and those that decode take turns: those that wait must soon leave cores to others. By
# default they spin for milliseconds, and on a machine where other work runs a text took torch twenty times as long. To
# leave cores at once (OMP_WAIT_POLICY) costs small parallel loops their threads: float64 took four times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Where each public name lives; imported on first use, so that `import singaudit` costs nothing.
_HOMES = {
    "Audit": "singaudit.pipeline.audit",
    "AuditConfig": "singaudit.config",
    "AuditResult": "singaudit.report.result.audit",
    "RefitOptions": "singaudit.pipeline.repair",
    "SingauditError": "singaudit.errors",
    "TrimOptions": "singaudit.pipeline.trim",
    "audit": "singaudit.pipeline.audit",
    "export": "singaudit.classifier.own_network",
    "audit_arrays": "singaudit.pipeline.arrays.audit",
    "refit": "singaudit.pipeline.repair",
    "shadow_copy": "singaudit.classifier.shadow.module",
    "trim": "singaudit.pipeline.trim",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'singaudit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
