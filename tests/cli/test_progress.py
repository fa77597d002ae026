"""Progress bars at the widths people have: names give way, numbers are whole."""

import io
import re

import pytest
from rich.console import Console

from singaudit.cli.progress_columns import progress_bars


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_number_is_cut_and_no_name_is_squeezed(width: int) -> None:
    file = io.StringIO()
    bars = progress_bars(Console(file=file, width=width, force_terminal=False, color_system=None))
    bars.add_task("look at the images", total=123_456, completed=100_000, rate="1,024 images/s", memory="12.3 GiB")
    bars.add_task(
        "download openai/clip-vit-large-patch14/model.safetensors",
        total=1710,
        completed=512,
        rate="MB, 24.4 MB/s",
        memory="0.9 GiB",
    )
    bars.add_task("certify the shadow copy", total=1, completed=1, rate="", memory="1.0 GiB")
    bars.tasks[0].finished_time = None
    with bars.console.capture() as said:
        bars.console.print(bars.get_renderable())
    lines = said.get().splitlines()
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert "100,000/123,456" in lines[0]
    assert "1,024 images/s" in lines[0]
    assert "512/1,710" in lines[1]
    assert "24.4 MB/s" in lines[1]
    assert lines[0].split("  ")[0].strip("⠋ ").startswith("look at the imag")
    assert not re.search(r"\d:\d?…|\.\.\.", said.get())
