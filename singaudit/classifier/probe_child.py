"""The child process of :mod:`singaudit.classifier.probe`: parses and runs one model under limits, writes what it saw.

Run as ``python -m singaudit.classifier.probe_child`` with the request as JSON on standard input.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from singaudit.errors import ModelError, SingauditError


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # not POSIX: the time limit alone holds
        return
    if limit > 0:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _look(request: dict[str, Any], out: Path) -> dict[str, Any]:
    from singaudit.classifier.checks import parse
    from singaudit.classifier.graph import Graph
    from singaudit.classifier.probe import input_spec, take_trace, trace_tensors
    from singaudit.classifier.session import exposed, make_session

    path = Path(request["path"])
    model, data = parse(path)
    graph = Graph(model, path.parent)
    spec = input_spec(graph, request["preprocess"], path.parent)
    logits = request["logits"] or spec.metadata.logits
    names = trace_tensors(graph, logits, request["features"] or spec.metadata.features)
    session = make_session(exposed(model, data, names[0] + names[1]), path.parent, threads=request["threads"])
    trace = take_trace(graph, spec, session, names)
    arrays: dict[str, Any] = {f"v{index}": array for index, array in enumerate(trace.values.values())}
    np.savez(out / "values.npz", **arrays)
    return {
        "shapes": {name: list(map(int, shape)) for name, shape in trace.shapes.items()},
        "batch_axes": trace.batch_axes,
        "values": list(trace.values),
        "static_batch": trace.static_batch,
        "dtypes": trace.dtypes,
        "least_batch": trace.least_batch,
    }


def main() -> None:
    """Reads the request, writes ``answer.json`` and ``values.npz`` into its folder."""
    request = json.load(sys.stdin)
    _limit_memory(int(request["memory"]))
    out = Path(request["out"])
    try:
        answer = _look(request, out)
    except SingauditError as error:
        answer = {"error": error.message, "hint": error.hint, "code": error.code}
    except MemoryError:
        problem = ModelError("the model needs more memory to open than this machine may give it")
        answer = {
            "error": problem.message,
            "hint": "check the file; or use a machine with more memory",
            "code": "model",
        }
    (out / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
