"""Charts are drawn in a process of their own: what kills it is a message in a report that is whole otherwise."""

import os
import signal
import subprocess
import sys

import pytest

from singaudit.report.pages.drawing import Drawer, DrawingError

SPEC = {
    "data": {"values": [{"a": 1, "b": "x"}, {"a": 2, "b": "</svg>"}]},
    "mark": "bar",
    "encoding": {"x": {"field": "a", "type": "quantitative"}, "y": {"field": "b", "type": "nominal"}},
}


@pytest.fixture
def drawer():
    made = Drawer()
    yield made
    made.close()


def test_it_draws_what_the_library_draws_again_and_again(drawer):
    import vl_convert

    expected = vl_convert.vegalite_to_svg(SPEC)
    assert [drawer.svg(SPEC), drawer.svg(SPEC)] == [expected, expected]
    drawer.close()
    assert drawer.svg(SPEC) == expected


def test_a_process_that_was_started_before_draws_the_same_and_ends_where_nothing_is_to_be_drawn(drawer, monkeypatch):
    expected = drawer.svg(SPEC)
    drawer.close()
    drawer.start()
    process = drawer._started()
    assert drawer.svg(SPEC) == expected
    assert drawer._started() is process
    monkeypatch.setattr("singaudit.report.pages.drawing._IDLE", 0.01)
    drawer.start()
    assert process.wait(60) == -signal.SIGKILL


def test_a_specification_that_is_none_is_a_message_and_the_next_is_drawn(drawer):
    with pytest.raises(DrawingError):
        drawer.svg({"mark": {"no": "mark"}, "data": 7})
    assert drawer.svg(SPEC).startswith("<svg")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_that_dies_is_started_once_more_and_then_no_more(drawer):
    drawer.svg(SPEC)
    for _ in range(2):
        os.kill(drawer._started().pid, signal.SIGTRAP)
        with pytest.raises(DrawingError, match="signal 5"):
            drawer.svg(SPEC)
    with pytest.raises(DrawingError, match="dies here"):
        drawer.svg(SPEC)


@pytest.mark.skipif(sys.platform != "linux", reason="limits on address space")
def test_a_limit_on_memory_costs_the_charts_and_not_the_report(tmp_path):
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        "from singaudit.report.pages.vega import to_svg\n"
        "print(to_svg({'data': {'values': [{'a': 1}]}, 'mark': 'bar'}, 'bars'))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr
    assert "could not be drawn" in found.stdout
    assert found.stderr.count("charts could not be drawn") == 1


def test_a_process_that_cannot_be_started_costs_charts_and_nothing_else(drawer, monkeypatch):
    def full(*given, **more):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    drawer.start()
    with pytest.raises(DrawingError, match="cannot be started: Resource temporarily unavailable"):
        drawer.svg({})
