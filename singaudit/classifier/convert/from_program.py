"""Files that are programs: TorchScript, torch.export's .pt2 and pickled modules. Read only with --allow-code.

They run in the converting process, under its limits of time and memory; that bounds what they take, not what they do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from singaudit.classifier.convert.network import Network, Statements, stored_as
from singaudit.errors import ModelError
from singaudit.torchvision_import import import_torchvision

_SIZES = (224, 256, 32, 28, 64, 96, 128, 160, 192, 299, 384, 448, 512)
"""Pixels; sides that classifiers are usually trained with, tried in this order where nothing states one."""
_AVERAGED = ("ema", "model_ema", "ema_model")
_MODULES = ("model", "net", "network", "module")


def program_network(file: str, content: str, stated: Mapping[str, Any]) -> Network:
    """Run the file's own code to get its network, and find out what images it takes. Raises ModelError."""
    import torch

    import_torchvision()  # which the program may be made of
    path = Path(file)
    program = None
    try:
        if content == "TorchScript":
            module = torch.jit.load(str(path), map_location="cpu")
        elif content == "exported program":
            program = torch.export.load(str(path))
            module = program.module()
        else:
            sys.path.append("")  # classes that the file names are usually defined beside where the user works
            module = _module(torch.load(path, map_location="cpu", weights_only=False), path)
    except (MemoryError, ModelError):
        raise
    except Exception as error:
        raise ModelError(
            f"{path.name} cannot be run as {content}: {type(error).__name__}: {' '.join(str(error).split())[:200]}",
            hint="Its classes must be importable: run in the folder of their source, or set PYTHONPATH."
            if isinstance(error, ImportError | AttributeError)
            else "Save it again with this version of torch.",
        ) from error
    stored = stored_as(dict(module.state_dict()))
    if program is None:
        module = module.eval().float()
        shape, dtype, layout, guessed = _input(module, stated)
        batch = None
    else:
        shape, dtype, layout, batch = _declared(program)
        guessed = False
    return Network(
        module=module,
        shape=shape,
        statements=Statements(),
        description={"format": content, "code": "run with --allow-code", "module": type(module).__name__},
        stored=stored,
        dtype=dtype,
        layout=layout,
        batch=batch,
        size_guessed=guessed,
        program=program,
    )


def _module(found: Any, path: Path) -> Any:
    """The module in what was unpickled: of several the averaged one."""
    import torch

    if isinstance(found, Mapping):
        modules = [item for item in found.values() if isinstance(item, torch.nn.Module)]
        named = [found[k] for k in (*_AVERAGED, *_MODULES) if isinstance(found.get(k), torch.nn.Module)]
        found = named[0] if named else modules[0] if len(modules) == 1 else found
    if isinstance(found, torch.nn.DataParallel):  # it only spreads images over devices
        found = found.module
    if not isinstance(found, torch.nn.Module):
        raise ModelError(
            f"{path.name} holds a {type(found).__name__}; expected a torch module",
            hint="Save the module itself with torch.save(model, ...), or its state dict.",
        )
    return found


Layout = Literal["nchw", "nhwc"]
Dtype = Literal["float32", "uint8"]


def _attempts(
    stated: Mapping[str, Any], sizes: list[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int, int], Dtype, Layout]]:
    """What images a module may take, the usual first, within what the user states."""
    layouts: tuple[Layout, ...] = (stated["layout"],) if "layout" in stated else ("nchw", "nhwc")
    channels = {"gray": (1,), "rgb": (3,), "bgr": (3,)}.get(stated.get("channels", ""), (3, 1))
    for dtype in ("float32", "uint8"):
        for layout in layouts:
            for count in channels:
                for height, width in sizes:
                    shape = (count, height, width) if layout == "nchw" else (height, width, count)
                    yield shape, dtype, layout


def _input(module: Any, stated: Mapping[str, Any]) -> tuple[tuple[int, int, int], Dtype, Layout, bool]:
    """(shape of one image, type, layout, whether its size is a guess), by what the module accepts."""
    sizes = [stated["size"]] if "size" in stated else [(side, side) for side in _SIZES]
    for shape, dtype, layout in _attempts(stated, sizes):
        if _takes(module, shape, dtype):
            other = tuple(side + 32 if side > 4 else side for side in shape)
            return shape, dtype, layout, "size" not in stated and _takes(module, other, dtype)
    tried = f"{sizes[0][0]}x{sizes[0][1]}" if len(sizes) == 1 else f"sides of {', '.join(map(str, _SIZES))} pixels"
    raise ModelError(
        f"the module takes no batch of images: tried 3 and 1 channels, both layouts, {tried}",
        hint="State what it takes: --preprocess size=HEIGHTxWIDTH,layout=nhwc,channels=gray.",
    )


def _takes(module: Any, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether a batch of two gives two rows."""
    import torch

    try:
        output = module(torch.zeros(2, *shape, dtype=getattr(torch, dtype)))
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:  # whatever its code raises means no
        return False
    first = next(iter(output.values()), None) if isinstance(output, Mapping) else output
    first = first[0] if isinstance(first, list | tuple) and first else first
    return isinstance(first, torch.Tensor) and first.ndim >= 2 and len(first) == 2


def _declared(program: Any) -> tuple[tuple[int, int, int], Dtype, Layout, int | None]:
    """(shape of one image, type, layout, fixed batch) of an exported program's one input."""
    names = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(values) != 1 or getattr(values[0], "ndim", 0) != 4:
        raise ModelError(
            f"expected a program of one input, a batch of images; it has {len(values)}",
            hint="Export the image classifier alone.",
        )
    value = values[0]
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in ("float32", "uint8"):
        raise ModelError(f"expected a program that takes float32 or uint8 images, it takes {dtype}")
    sides = value.shape[1:]
    if not all(isinstance(side, int) for side in sides):
        raise ModelError("expected a program for images of one size, its height or width is free")
    layout: Layout = "nchw" if sides[0] in (1, 3) else "nhwc"
    batch = int(value.shape[0]) if isinstance(value.shape[0], int) else None
    return tuple(sides), dtype, layout, batch  # type: ignore[return-value]
