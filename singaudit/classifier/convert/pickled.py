"""Weights that torch pickled, written anew as safetensors by a process under limits that runs nothing they name.

Run as ``python -m singaudit.classifier.convert.pickled`` with the request as JSON on standard input, it is that
process. What reads the result sees tensors in a bounded container, as if the file had always been one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singaudit import child
from singaudit.classifier.sandbox.process import SECONDS, default_memory
from singaudit.errors import ModelError

_SECONDS_PER_GIB = 60.0
_WRAPPED = "module."
"""What training on several devices puts before every name."""


def write_safetensors(files: Sequence[Path], out: Path) -> None:
    """Write the tensors of one checkpoint (its parts, where it has several) to ``out`` as safetensors.

    The process that reads takes at most the share of the machine's memory that a model's may. Raises ModelError for
    what holds no weights by name and for a pickle that is a program, MachineError where memory or disk run out.
    """
    request = {"files": [str(path) for path in files], "out": str(out), "memory": default_memory()}
    gibibytes = sum(path.stat().st_size for path in files) / 2**30
    try:
        done = subprocess.run(
            child.command("singaudit.classifier.convert.pickled"),
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=SECONDS + _SECONDS_PER_GIB * gibibytes,
            env=child.environment(),
            pass_fds=child.inherited(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{files[0].name} was not read within {error.timeout:.3g} s", hint="Check the file."
        ) from error
    answer = out.with_suffix(".json")
    if not answer.is_file():
        raise ModelError(
            f"reading {files[0].name} crashed its process ({done.returncode})",
            hint="The file is damaged, or needs more memory than there is.",
        )
    said: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    child.raise_fields(said)


def _written(files: Sequence[str], out: Path) -> dict[str, Any]:
    from safetensors.torch import save_file

    from singaudit.classifier.convert.state_dict import read_weights

    tensors = read_weights([Path(name) for name in files]).tensors
    start = _WRAPPED if all(name.startswith(_WRAPPED) for name in tensors) else ""
    save_file({n.removeprefix(start): t for n, t in _apart(tensors).items()}, out, {"format": "pt"})
    return {}


def _apart(tensors: dict[str, Any]) -> dict[str, Any]:
    """Each tensor in a storage of its own: the container knows no sharing, so two names of one become two tensors."""
    found, seen = {}, set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        whole = tensor.is_contiguous() and tensor.numel() * tensor.element_size() == storage.nbytes()
        found[name] = tensor if whole and storage.data_ptr() not in seen else tensor.clone().contiguous()
        seen.add(storage.data_ptr())
    return found


def main() -> None:
    """Reads the request, writes the weights and the answer beside them."""
    request = json.load(sys.stdin)
    child.settle_in(int(request["memory"]), address_space=False)
    out = Path(request["out"])
    try:
        answer = _written(request["files"], out)
    except Exception as error:
        answer = child.as_fields(error, "read the weights", "Use a machine with more memory.")
    out.with_suffix(".json").write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
