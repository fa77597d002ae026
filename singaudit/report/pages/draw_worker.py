"""The child of :mod:`singaudit.report.pages.drawing`: a specification a line in, its SVG a line out, as JSON."""

from __future__ import annotations

import contextlib
import json
import os

from singaudit import child

MEMORY = 4 << 30
"""Bytes of data; the engine reserves far more address space than it uses."""


def main() -> None:
    """Draw until there is nothing more to draw."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    child.settle_in(MEMORY, address_space=False)
    import vl_convert

    with contextlib.suppress(Exception):  # loads the engine, before the first chart comes
        vl_convert.vegalite_to_svg({"mark": "point"})
    for line in source:
        try:
            answer = {"svg": vl_convert.vegalite_to_svg(json.loads(line))}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sink.write(json.dumps(answer).encode() + b"\n")
        sink.flush()


if __name__ == "__main__":
    main()
