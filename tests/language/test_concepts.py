"""Concept files, prompts and the built-in vocabularies."""

import numpy as np
import pytest

from singaudit.errors import LanguageError
from singaudit.language.concepts import Group, class_group, embed_group, open_vocabulary, prompts
from singaudit.language.encoders.table import BUILTIN, open_encoder


def test_a_value_is_said_in_several_ways_with_the_right_article():
    assert prompts("a {}", "owl") == ["an image of an owl", "a photo of an owl", "a picture of an owl"]
    assert prompts("a photo of a {} shape", "red")[0] == "an image of a red shape"
    assert prompts("a photo of a {} shape", "orange")[1] == "a photo of an orange shape"
    assert prompts("a {}", "polar_bear")[0] == "an image of a polar bear"


def test_toml_groups_and_plain_lists(tmp_path):
    toml = tmp_path / "c.toml"
    toml.write_text(
        '[colour]\nvalues = ["red", "blue"]\ntemplate = "a photo of a {} shape"\n[size]\nvalues = ["s", "l"]\n'
    )
    found = open_vocabulary(str(toml), "any")
    assert [g.name for g in found.groups] == ["colour", "size"]
    assert found.groups[0].template == "a photo of a {} shape"
    text = tmp_path / "c.txt"
    text.write_text("\ufeffgrass\n\n snow \ngrass\n")
    assert open_vocabulary(str(text), "any").concepts == ("grass", "snow")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("[x]\nvalues = [1]", "non-empty texts"),
        ("[x]\nvalues = ['a']", "two different"),
        ("[x]\nvalues = ['a', 'a']", "two different"),
        ("[x]\nvalues = ['a', 'b']\ntemplate = 'no place'", "one {}"),
        ("[x]\nvalues = ['a', 'b']\ntemplat = 'a {}'", "templat"),
        ("x = 3", "a table"),
        ("[class]\nvalues = ['a', 'b']", "class"),
        ("", "at most"),
        ("[x", "TOML"),
    ],
)
def test_bad_groups_name_the_place(tmp_path, content, match):
    path = tmp_path / "c.toml"
    path.write_text(content)
    with pytest.raises(LanguageError, match=match):
        open_vocabulary(str(path), "any")


def test_empty_and_binary_lists_are_refused(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("\n \n")
    with pytest.raises(LanguageError, match="none"):
        open_vocabulary(str(path), "any")
    path.write_bytes(b"\xff\xfe\x00red")
    with pytest.raises(LanguageError, match="UTF-8"):
        open_vocabulary(str(path), "any")


def test_built_in_vocabularies_are_well_formed():
    natural, shapes = open_vocabulary(None, "openai/clip-vit-large-patch14"), open_vocabulary(None, BUILTIN)
    assert len(natural.groups) >= 10
    assert sum(len(g.values) for g in natural.groups) >= 120
    assert {"colour", "background_colour", "texture", "size"} <= {g.name for g in shapes.groups}


def test_group_embeddings_are_unit_and_distinct():
    encoder = open_encoder(BUILTIN)
    z = embed_group(encoder, Group("colour", ("red", "blue", "green"), "a photo of a {} shape"))
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-12)
    assert (z @ z.T)[np.triu_indices(3, 1)].max() < 0.99
    assert class_group(("a", "b")).name == "class"
