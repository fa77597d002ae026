"""The report in a real browser: nothing runs over the edge, nothing is blocked, sorting and filtering work."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from report_factory import HOSTILE, full, geometry_only

from singaudit.report.pages.html import render_html
from singaudit.report.pages.side_by_side import render_pair

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")


def _axe() -> Path | None:
    """axe-core's script: at the path given, or where Node finds the package, installed here or for everybody."""
    places = [Path(os.environ.get("AXE_CORE", "none")), Path("node_modules/axe-core/axe.min.js")]
    if npm := shutil.which("npm"):
        done = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, timeout=120, check=False)
        places.append(Path(done.stdout.strip() or "none") / "axe-core" / "axe.min.js")
    return next((place for place in places if place.is_file()), None)


AXE = _axe() if CHROMIUM and DRIVER else None
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    """As much of the WebDriver protocol as these tests need."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self._base += f"/session/{session}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path, width: int) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        self._ask("POST", "/goog/cdp/execute", command)
        self._ask("POST", "/url", {"url": path.as_uri()})

    def print_style(self, on: bool) -> None:
        """Style pages as for the printer."""
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"media": "print" if on else ""}}
        self._ask("POST", "/goog/cdp/execute", command)

    def run(self, script: str) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def press(self, key: str) -> None:
        """One key, as from a keyboard, to whatever has the focus."""
        keys = {"type": "key", "id": "k", "actions": [{"type": t, "value": key} for t in ("keyDown", "keyUp")]}
        self._ask("POST", "/actions", {"actions": [keys]})

    def drag(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        """Press, move and release a mouse or a finger, in pixels of the window."""
        at = [{"type": "pointerMove", "x": round(x), "y": round(y), "duration": 50} for x, y in (start, end)]
        steps = [at[0], {"type": "pointerDown", "button": 0}, at[1], {"type": "pointerUp", "button": 0}]
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": steps}
        self._ask("POST", "/actions", {"actions": [pointer]})

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def close(self) -> None:
        self._ask("DELETE", "")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    driver = subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    try:
        port = 0
        deadline = time.monotonic() + 120
        while not port and time.monotonic() < deadline:
            line = driver.stdout.readline()
            if "on port" in line:
                port = int(line.rsplit(" ", 1)[1].strip(" .\n"))
        session = Browser(port, tmp_path_factory.mktemp("profile"))
        yield session
        session.close()
    finally:
        driver.terminate()
        driver.wait(60)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    documents = {
        "full": render_html(full()),
        "hostile": render_html(full(HOSTILE)),
        "geometry": render_html(geometry_only()),
        "pair": render_pair([full(status="pass"), full(HOSTILE)], ["a/report.html", "b/report.html"], "Two audits"),
    }
    for name, document in documents.items():
        (folder / f"{name}.html").write_text(document, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in documents}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["full", "hostile", "geometry", "pair"])
def test_nothing_runs_over_the_edge_and_nothing_is_blocked(browser, pages, name: str, width: int) -> None:
    browser.open(pages[name], width)
    inner, content = browser.run("return [document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert inner <= width
    assert content <= inner, f"{name} is {content} px wide at {inner} px"
    assert browser.run("return [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert browser.complaints() == []


@pytest.mark.skipif(
    AXE is None, reason="axe-core is not installed (npm install -g axe-core, or AXE_CORE=its axe.min.js)"
)
@pytest.mark.parametrize("name", ["full", "geometry", "pair"])
def test_axe_finds_nothing_serious(browser, pages, name: str) -> None:
    """Runs a checker of accessibility inside the page, everything opened."""
    browser.open(pages[name], 1280)
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; });")
    browser.run(Path(str(AXE)).read_text(encoding="utf-8"))
    found = browser.run(
        "return axe.run(document, {resultTypes: ['violations']}).then(r => r.violations"
        ".filter(v => v.impact === 'serious' || v.impact === 'critical')"
        ".map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.target.join(' ')).join(', ')))"
    )
    assert found == []


OPEN_ALL = "document.querySelector('.open-all').click();"


@pytest.mark.parametrize("name", ["full", "geometry"])
def test_the_brief_is_the_first_screen_and_two_of_a_telephone(browser, pages, name: str) -> None:
    end = "return document.querySelector('.brief').getBoundingClientRect().bottom"
    browser.open(pages[name], 1280)
    assert browser.run(end) <= 900
    browser.open(pages[name], 390)
    assert browser.run(end) <= 2 * 844


def test_the_evidence_opens_by_anchor_by_button_and_for_the_printer(browser, pages) -> None:
    count = "document.querySelectorAll('details.evidence[open]').length"
    browser.open(pages["full"], 1280)
    assert browser.run(f"return {count}") == 0
    browser.run("document.querySelector('nav a[href=\"#classes\"]').click()")
    assert browser.run(f"return new Promise(done => setTimeout(() => done({count}), 300))") == 1
    assert browser.run("return document.getElementById('classes').closest('details').open")
    assert browser.run(f"{OPEN_ALL} return {count}") == 9
    assert browser.run(f"{OPEN_ALL} return {count}") == 0
    assert browser.run(f"window.dispatchEvent(new Event('beforeprint')); return {count}") == 9
    assert browser.run(f"window.dispatchEvent(new Event('afterprint')); return {count}") == 0


def test_a_table_sorts(browser, pages) -> None:
    browser.open(pages["full"], 1280)
    rows = "[...document.querySelectorAll('#classes tbody tr')].map(r => r.cells[0].textContent.trim())"
    before = browser.run(f"return {rows}")
    state = browser.run(
        "const b = document.querySelectorAll('#classes button.sort')[0]; b.click();"
        f"return [b.parentElement.getAttribute('aria-sort'), {rows}]"
    )
    assert state == ["ascending", sorted(before)]
    by_number = browser.run(f"document.querySelectorAll('#classes button.sort')[2].click(); return {rows}")
    assert by_number[-1] == before[-1], "a class without images stays last"


CUT = "document.querySelector('.compare .slide').style.getPropertyValue('--cut')"
TAB, HOME, END, RIGHT, ENTER = "\ue004", "\ue011", "\ue010", "\ue014", "\ue007"


def test_two_pictures_are_compared_by_keyboard_alone(browser, pages) -> None:
    browser.open(pages["full"], 1280)
    browser.run(OPEN_ALL + "document.getElementById('picture-group').focus()")
    browser.press(TAB)
    assert browser.run("return document.activeElement.type") == "range"
    browser.press(RIGHT)
    assert browser.run(f"return {CUT}") == "55%"
    browser.press(HOME)
    assert browser.run(f"return {CUT}") == "0%"
    browser.press(END)
    assert browser.run(f"return {CUT}") == "100%"
    clip = "getComputedStyle(document.querySelector('.compare .after img')).clipPath"
    assert "100%" in browser.run(f"return {clip}")
    browser.press(TAB)
    assert browser.run("return document.activeElement.className") == "flip"
    browser.press(ENTER)
    assert browser.run(f"return [{CUT}, document.activeElement.getAttribute('aria-pressed')]") == ["0%", "true"]
    browser.press(ENTER)
    assert browser.run(f"return [{CUT}, document.activeElement.getAttribute('aria-pressed')]") == ["100%", "false"]
    assert browser.complaints() == []


@pytest.mark.parametrize(("width", "kind"), [(1280, "mouse"), (390, "touch")])
def test_two_pictures_are_compared_by_mouse_and_touch(browser, pages, width: int, kind: str) -> None:
    browser.open(pages["full"], width)
    browser.run(OPEN_ALL)
    box = browser.run(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "const i = document.querySelector('.compare .before img'); i.scrollIntoView({block: 'center'});"
        "const b = i.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]"
    )
    left, top, wide, high = box
    browser.drag((left + wide / 2, top + high / 2), (left + wide / 4, top + high / 2), kind)
    assert abs(float(browser.run(f"return {CUT}").rstrip("%")) - 25) <= 3


def test_pairs_are_printed_side_by_side(browser, pages) -> None:
    browser.open(pages["full"], 1280)
    browser.run(OPEN_ALL)
    browser.print_style(True)
    a, b = browser.run(
        "return [...document.querySelectorAll('.compare .slide figure')].slice(0, 2)"
        ".map(f => { const r = f.getBoundingClientRect(); return [r.left, r.right]; })"
    )
    clip = browser.run("return getComputedStyle(document.querySelector('.compare .after img')).clipPath")
    browser.print_style(False)
    assert a[1] <= b[0] + 1
    assert clip == "none"


def test_pairs_are_filtered_by_class_and_group(browser, pages) -> None:
    browser.open(pages["full"], 1280)
    browser.run(OPEN_ALL)
    shown = "return [...document.querySelectorAll('.compare')].filter(i => i.offsetHeight > 0).length"
    assert browser.run(shown) == 10
    choose = "const s = document.getElementById('{}'); s.selectedIndex = {}; s.dispatchEvent(new Event('change'));"
    assert browser.run(choose.format("picture-group", 2) + shown) == 3
    both = browser.run(choose.format("picture-class", 1) + shown)
    assert both < 3
    assert browser.run("return document.getElementById('picture-count').textContent") == f"{both} of 10"


def test_pairs_are_side_by_side_without_the_script(browser, pages, tmp_path) -> None:
    plain = pages["full"].read_text(encoding="utf-8").split("<script>")
    page = tmp_path / "plain.html"
    page.write_text(plain[0] + plain[-1].split("</script>")[-1], encoding="utf-8")
    browser.open(page, 1280)
    assert browser.run("return document.querySelector('.brief').offsetHeight") > 300
    browser.run("document.querySelectorAll('summary').forEach(s => s.click())")
    a, b = browser.run(
        "return [...document.querySelectorAll('.compare figure')].slice(0, 2)"
        ".map(f => { const r = f.getBoundingClientRect(); return [r.left, r.right, r.top]; })"
    )
    assert a[1] <= b[0]
    assert a[2] == b[2]
    assert browser.run("return document.querySelector('.cut').offsetHeight") == 0


def test_by_the_keyboard_alone_everything_is_reached_and_seen_and_a_link_opens_what_it_leads_to(browser, pages) -> None:
    browser.open(pages["full"], 1280)
    focusable = "a[href], button, input, summary, [tabindex='0']"
    wanted = browser.run(
        f'return [...document.querySelectorAll("{focusable}")].filter(e => e.checkVisibility()).length'
    )
    assert wanted > 10
    for _ in range(wanted):
        browser.press("\ue004")  # Tab
        unseen = browser.run(
            "const e = document.activeElement, outlined = o => getComputedStyle(o).outlineStyle !== 'none';"
            "return [e, e.closest('.slide')].some(o => o && outlined(o)) ? '' : e.outerHTML.slice(0, 200)"
        )
        assert not unseen
    link = "document.querySelector('nav a[href=\"#gates\"]')"
    browser.run(f"{link}.focus()")
    browser.press("\ue007")  # Enter
    evidence = "document.querySelector('#gates').closest('details')"
    assert browser.run(f"return {evidence}.open && {evidence}.contains(document.activeElement)")
