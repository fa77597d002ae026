"""Names that want to be more: inert in terminal, HTML, PDF, JSON and CSV, wherever an audit shows them."""

import csv
import html.parser
import io
import json
import shutil
import subprocess
import sys
import unicodedata

import PIL.Image
import pytest
from hostile import run
from model_files import LEAKY
from pypdf import PdfReader

from singaudit.dataset.sources.table import open_source
from singaudit.language.encoders.table import builtin_folder
from singaudit.report.formats.pdf import pdf_available

CLASSES = [
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "=HYPERLINK('https:example.org')",
    "https://example.org/a.png",
    "file:///etc/passwd",
    "\u202egnp.exe\u2066dog",
    "a\x1b[2J\x1b[31mred\x07",
    "\"><img src=x onerror=alert(1)> ' onload='",
]
VALUES = [
    "</style><b>",
    "@SUM(1)",
    "-2+3",
    "javascript:alert(1)",
    "e" + "\u0301" * 60,
    "${jndi:ldap://x}",
    "%s%n",
    "]]>",
]
IMAGES = ["=1+1.png", "<img src=x onerror=alert(1)>.png", "{{ 1 }}.png", "\u202ea.png", "\x1b[31m.png", "+a.png"]


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """An audit in which everything that has a name has a hostile one."""
    folder = tmp_path_factory.mktemp("names")
    model = folder / "=m<b>{{ 1 }}.onnx"
    shutil.copy(LEAKY, model)
    (folder / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    values = json.dumps(VALUES[:4], ensure_ascii=True), json.dumps(VALUES[4:], ensure_ascii=True)
    (folder / "k.toml").write_text(
        f'["<b>{{{{ 1 }}}}"]\nvalues = {values[0]}\n["=group"]\nvalues = {values[1]}\ntemplate = "a {{}} <i>"\n',
        encoding="utf-8",
    )
    source = open_source("shapes:60:4")
    (folder / "im").mkdir()
    for i in range(60):
        name = IMAGES[i] if i < len(IMAGES) else f"{i}.png"
        PIL.Image.fromarray(source.load(i).pixels).save(folder / "im" / name)
    (folder / "im" / "<b>broken.png").write_bytes(b"nonsense")
    formats = "html,json,csv" + ("" if pdf_available() else ",pdf")
    found = run(
        ["run", str(model), "--classes", str(folder / "classes.txt"), "--images", str(folder / "im"), "--concepts",
         str(folder / "k.toml"), "--vlm", "builtin:shapes", "--report", formats, "--progress", "plain",
         "--gate", "geometry.null_dim > 1", "-o", str(folder / "out")],
    )  # fmt: skip
    assert found.exit_code == 4, found.stderr
    return found, folder / "out"


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self._raw = [], [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._raw = False

    def handle_data(self, data):
        if not self._raw:
            self.text.append(data)


@pytest.fixture(scope="module")
def page(audited):
    page = Page()
    page.feed((audited[1] / "report.html").read_text(encoding="utf-8"))
    return page


def test_nothing_in_the_page_runs_or_leaves_it(page):
    assert any("default-src 'none'" in str(value) for _, value in page.attributes)
    assert page.tags.count("script") <= 2
    assert not {"iframe", "object", "embed", "base", "form", "link", "include"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert value.startswith(("data:image/", "#")), (name, value[:80])


@pytest.mark.parametrize("name", CLASSES, ids=[f"class {i}" for i in range(8)])
def test_a_class_name_stands_in_the_page_as_text(page, name):
    shown = "".join(page.text)
    inert = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf"))
    assert "49" not in inert
    # Characters that cannot be shown safely are replaced or left out; all others stand as they are.
    parts = [p for p in "".join(c if c in inert else "\0" for c in name).split("\0") if p]
    assert all(part in shown for part in parts)


def test_no_control_or_direction_character_reaches_page_or_terminal(page, audited):
    found = audited[0]
    for text in ("".join(page.text), found.stdout, found.stderr):
        bad = {c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"}
        assert not bad
    # Isolates that the page itself sets around names are closed; overrides never appear.
    assert not {"\u202e", "\u202d", "\u202b", "\u202a"} & set("".join(page.text) + found.stdout + found.stderr)


def test_no_cell_of_the_table_is_a_formula(audited):
    rows = list(csv.reader(io.StringIO((audited[1] / "scores.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 61
    for row in rows:
        assert len(row) == len(rows[0])
        for cell in row:
            if cell.strip()[:1] in ("=", "+", "-", "@", "\t", "\r"):
                float(cell)
    assert {"'=1+1.png", "'+a.png"} <= {row[0] for row in rows}


def test_the_result_holds_the_names_as_they_are_in_plain_ascii(audited):
    data = (audited[1] / "result.json").read_bytes()
    assert data.isascii()
    result = json.loads(data)
    assert result["model"]["class_names"] == CLASSES
    assert {f["group"] for f in result["findings"]} >= {"<b>{{ 1 }}", "=group"}
    assert result["data"]["audit"]["skipped"][0]["name"] == "<b>broken.png"


@pytest.mark.skipif(pdf_available() is not None, reason="no PDF libraries")
def test_the_pdf_points_nowhere_and_runs_nothing(audited):
    data = (audited[1] / "report.pdf").read_bytes()
    reader = PdfReader(io.BytesIO(data))
    for page in reader.pages:
        for annotation in page.get("/Annots", []):
            action = annotation.get_object().get("/A")
            assert action is None or action.get_object()["/S"] == "/GoTo"
    text = "".join(p.extract_text() for p in reader.pages)
    assert "root:" not in text
    assert "alert(1)" in text
    assert list(reader.attachments) == ["result.json"]


def test_rendering_it_again_gives_the_same_page(audited, tmp_path):
    found = run(["report", str(audited[1] / "result.json"), "--report", "html,json", "-o", str(tmp_path / "again")])
    assert found.exit_code == 0, found.stderr
    for name in ("report.html", "result.json"):
        assert (tmp_path / "again" / name).read_bytes() == (audited[1] / name).read_bytes()


def test_names_that_a_tokenizer_repeats_do_not_reach_the_terminal(tmp_path):
    """The tokenizers library prints what it does not know of a file to stdout, as it is."""
    shutil.copytree(builtin_folder(), tmp_path / "clip")
    path = tmp_path / "clip" / "tokenizer_config.json"
    added = {"5": {"content": "x", "\x1b[31mowned\x1b[2J": True}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "added_tokens_decoder": added}))
    (tmp_path / "im").mkdir()
    PIL.Image.new("RGB", (9, 9)).save(tmp_path / "im" / "a.png")
    command = [sys.executable, "-m", "singaudit", "pack", "--images", "im", "--vlm", "clip", "--cache", "none"]
    done = subprocess.run([*command, "--format", "json"], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout)["images"] == 1
    assert "owned" not in done.stdout + done.stderr
    code = "from singaudit.language.encoders.table import open_encoder; open_encoder('clip')"
    alone = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "owned" in alone.stdout + alone.stderr  # what is at stake
