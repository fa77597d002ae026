"""What errors say: every hint begins as a sentence, with what to do."""

import ast
from pathlib import Path

import singaudit

PACKAGE = Path(singaudit.__file__).parent


def texts(node):
    """The beginnings of the texts that an expression may be."""
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in texts(value)]
    if isinstance(node, ast.BinOp):
        return texts(node.left)
    if isinstance(node, ast.JoinedStr):
        return texts(node.values[0])
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def test_every_hint_begins_with_a_capital():
    found = [
        (path.relative_to(PACKAGE), node.value.lineno, text)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.keyword) and node.arg in ("hint", "default_hint")
        for text in texts(node.value)
        if text
    ]
    assert len(found) > 300
    assert [line for line in found if not line[2][0].isupper()] == []
