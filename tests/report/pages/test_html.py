import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from report_factory import HOSTILE, full, geometry_only

from singaudit.report.pages import charts, comparison_charts, vega, view
from singaudit.report.pages.html import render_html
from singaudit.report.pages.side_by_side import render_pair
from singaudit.report.result.audit import AuditResult

ORDER = ["gates", "pictures", "groups", "classes", "words", "scores", "head", "limits", "reproduce"]


class Page(HTMLParser):
    """What a document holds: elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {
        "full": render_html(full()),
        "hostile": render_html(full(HOSTILE)),
        "geometry": render_html(geometry_only()),
        "pair": render_pair(
            [full(status="pass"), full(HOSTILE)], ["clean/report.html", "a b/report.html"], "<b>Two</b>"
        ),
    }


@pytest.mark.parametrize("name", ["full", "hostile", "geometry", "pair"])
def test_nothing_is_loaded_and_nothing_foreign_runs(pages: dict[str, str], name: str) -> None:
    page = Page(pages[name])
    assert not page.open or page.open == []
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", pages[name], re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for key, value in attributes.items():
            assert not key.startswith("on")
            assert key != "style", "the policy would block it"
            if key in ("src", "href", "xlink:href"):
                allowed = ("data:image/", "#") if name != "pair" else ("data:image/", "#", "clean/", "a%20b/")
                assert value.startswith(allowed)


def test_names_are_inert(pages: dict[str, str]) -> None:
    page = Page(pages["hostile"])
    shown = "".join(page.text)
    assert "<script>alert(1)</script>" in shown
    assert "{{ 7 * 7 }}{% raw %}" in shown
    assert "https://example.org/x.png" in shown
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", pages["hostile"])
    assert max(len(text.strip()) for text in page.text) < 2000


def test_the_answer_stands_first_and_the_evidence_behind_it_closed(pages: dict[str, str]) -> None:
    page = Page(pages["full"])
    assert [s["id"] for s in page.all("section") if "id" in s] == ["verdict", *ORDER]
    assert [a["href"][1:] for a in page.all("a") if a["href"][1:] in ORDER][-9:] == ORDER
    closed = page.all("details")
    assert len(closed) == len(ORDER)
    assert not any("open" in d for d in closed)
    text = " ".join("".join(page.text).split())
    assert text.index("Do not ship as it is") < text.index("What the head ignores") < text.index("What to do next")
    assert text.index("What to do next") < text.index("Open all")


def test_geometry_alone_shows_what_it_has(pages: dict[str, str]) -> None:
    page = Page(pages["geometry"])
    assert [s["id"] for s in page.all("section")] == ["verdict", "gates", "head", "limits", "reproduce"]
    text = " ".join("".join(page.text).split())
    assert "Inconclusive" in text
    assert "Scores: no images were given." in text
    assert "what they mean was not measured" in text


def test_the_brief_is_word_icon_and_number_with_interval_and_n(pages: dict[str, str]) -> None:
    text = " ".join("".join(Page(pages["full"]).text).split())
    front = text[text.index("Verdict: Fail") :][:1600]
    for expected in ("its head ignores colour", "81 % [78, 84]", "800 images", "30 % [27, 33]", "Images 800"):
        assert expected in front, expected
    assert "scores.attribute_score_deg <" not in front


def test_every_statistic_carries_its_interval() -> None:
    html = render_html(full())
    for block in re.findall(r'<span class="stat">.*?</span></span>|<span class="stat">.*?</td>', html, re.DOTALL):
        assert "[" in block
    rows = re.findall(r'<section id="classes".*?</section>', html, re.DOTALL)[0].split("<tr")[2:]
    assert all(row.count("[") == 3 for row in rows if "–</span>" not in row)


def test_scores_stand_in_one_table_beside_every_control(pages: dict[str, str]) -> None:
    table = re.findall(r'<section id="scores".*?</table>', pages["full"], re.DOTALL)[0]
    assert table.count("<table") == 1
    assert "Norm-matched random subspaces" in table
    rows = table.split("<tbody>")[1].split("<tr>")[1:]
    assert len(rows) == 8
    assert all(row.count("<td") == 2 for row in rows)
    assert table.count('class="bar"') == 3


def test_words_promise_no_more_than_was_measured(pages: dict[str, str]) -> None:
    text = "".join(Page(pages["full"]).text)
    assert "ignored by the head" in text
    assert "not visible to the logits" in text
    assert "used in the decision" not in text


def test_tables_and_images_are_named(pages: dict[str, str]) -> None:
    for name in ("full", "pair"):
        page = Page(pages[name])
        assert pages[name].count("<caption") == len(page.all("table"))
        assert all(image["alt"] for image in page.all("img"))
        assert all(svg.get("aria-hidden") == "true" or svg.get("aria-label") for svg in page.all("svg"))
        assert [t for t, _ in page.tags if t in ("header", "main", "footer")] == ["header", "main", "footer"]
        assert len(page.all("h1")) == 1
    assert sum("aria-sort" in th for th in Page(pages["full"]).all("th")) >= 9


def test_thumbnail_that_is_no_picture_is_left_out() -> None:
    raw = full().model_dump()
    raw["pictures"] = []
    raw["gallery"][0]["thumbnail"] = "https://example.org/track.png"
    raw["gallery"][1]["thumbnail"] = "data:image/svg+xml;base64,PHN2Zy8+"
    html = render_html(AuditResult.model_validate(raw))
    assert "track.png" not in html
    assert "svg+xml" not in html
    assert "no picture" in html


def test_thirty_groups_and_a_thousand_classes_stay_small() -> None:
    """Thumbnails of photographs take about 11 kB each as text."""
    names = [f"class {i}" for i in range(1000)]
    raw = full(names, dim=2048, points=2000).model_dump()
    photo = "data:image/jpeg;base64," + "A" * 11_000
    raw["findings"] = [raw["findings"][i % 4] | {"group": f"group_{i}"} for i in range(30)]
    raw["concepts"] = [c | {"name": f"{c['name']} {i}"} for i in range(30) for c in raw["concepts"]]
    for part in raw["pictures"]:
        part["thumbnail"] = part["other_thumbnail"] = photo
    for item in raw["gallery"]:
        for entry in (item, *item["near_original"], *item["near_equivalent"]):
            entry["thumbnail"] = photo
    html = render_html(AuditResult.model_validate(raw))
    assert len(html) < 1_200_000
    assert "the first 100 of 1,000" in html


def test_rendering_is_reproducible() -> None:
    assert render_html(full()) == render_html(full())


def test_links_must_be_relative() -> None:
    for link in ("javascript:alert(1)", "https://example.org", "/etc/passwd", "../x", ""):
        with pytest.raises(ValueError, match="relative"):
            render_pair([full()], [link], "one")


def test_single_concepts_do_not_flood_the_page():
    from singaudit.report.pages.view import SHOWN_CONCEPTS, shown_findings

    result = full()
    pattern = result.findings[0].model_dump() | {"kind": "concept"}
    many = [
        type(result.findings[0]).model_validate(pattern | {"group": f"word {i}", "finding": finding})
        for i, finding in enumerate(["partial"] * 40 + ["cannot tell"] * 500)
    ]
    result = result.model_copy(update={"findings": [*result.findings, *many]})
    shown, left_out = shown_findings(result)
    assert len(shown) == 4 + SHOWN_CONCEPTS
    assert left_out == {"partial": 40 - SHOWN_CONCEPTS, "cannot tell": 500}
    page = render_html(result)
    assert "word 3" in page
    assert "500 concepts cannot tell" in page


def test_every_chart_is_a_valid_specification(monkeypatch) -> None:
    """Audits do without the library that knows: to load it takes longer than to draw."""
    altair = pytest.importorskip("altair")
    drawn = []

    def strictly(spec, label):
        drawn.append(label)
        altair.LayerChart.from_dict(spec, validate=True)
        svg = to_svg(spec, label)
        assert float(svg.split('viewBox="', 1)[1].split()[2]) == vega.WIDTH  # all texts are of one size
        return svg

    to_svg = vega.to_svg
    for module in (charts, comparison_charts):
        monkeypatch.setattr(module, "to_svg", strictly)
    result = full()
    view.figures(result)
    comparison_charts.ellipses([result.scatter, result.scatter])
    comparison_charts.bars(["a", "b"], [result.scores.image_score_deg] * 2, "IS", zero_line=True)
    assert {label.split()[0] for label in drawn} == {
        "Scatter",
        "Distribution",
        "Singular",
        "Angles",
        "Ellipses",
        "Bars:",
    }
