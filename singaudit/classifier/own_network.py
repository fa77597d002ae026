"""``singaudit.export``: a network of your own as an ONNX file that says its classes and preprocessing itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from singaudit.errors import ModelError

if TYPE_CHECKING:
    from singaudit.classifier.interface import Classifier


def export(
    module: Any, example: Any, path: str | Path, *, classes: Sequence[str] | None = None, preprocess: str | None = None
) -> Classifier:
    """Write a torch classifier to ``path`` as ONNX, with names and preprocessing in it, and open what was written.

    module: a ``torch.nn.Module``, images -> logits; it is exported in evaluation mode and left as it was. example: one
    batch of its images, a tensor (n, channels, height, width) or (n, height, width, channels). classes: names in logit
    order. preprocess: a ``--preprocess`` string, such as ``"mean=0.485/0.456/0.406,std=0.229/0.224/0.225"``.

    The export's logits are compared with the module's on random images, and its head is proved. Returns the opened
    classifier; ``singaudit run PATH`` then needs neither --classes nor --preprocess. Raises ModelError where the module
    cannot be exported or has no linear head, ConfigError for wrong names or preprocessing.
    """
    from singaudit.classifier.convert.export import export as write
    from singaudit.classifier.convert.network import Network, Statements
    from singaudit.classifier.preprocessing.syntax import parse_preprocess
    from singaudit.classifier.sandbox.onnx_classifier import open_onnx
    from singaudit.config import check_class_names

    shape = tuple(getattr(example, "shape", ()))
    last = len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3)
    if len(shape) != 4 or not (last or shape[1] in (1, 3)):
        raise ModelError(
            f"expected an example of 4 axes with 1 or 3 channels, (n, 3, height, width), got {shape}",
            hint="For example torch.zeros(1, 3, 224, 224).",
        )
    stated = parse_preprocess(preprocess) if preprocess else {}
    statements = Statements(
        preprocess=stated, source="export", class_names=None if classes is None else check_class_names(tuple(classes))
    )
    path = Path(path)
    training = module.training
    aside, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".onnx", dir=path.resolve().parent)
    os.close(aside)
    try:
        network = Network(
            module=module.eval(),
            shape=shape[1:],
            statements=statements,
            description={},
            layout="nhwc" if last else "nchw",
        )
        write(network, stated, Path(name))
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        module.train(training)
        Path(name).unlink(missing_ok=True)
    return open_onnx(path)
