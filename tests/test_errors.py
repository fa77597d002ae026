"""Errors as a user meets them."""

from __future__ import annotations

import pytest

from singaudit.errors import LanguageError


@pytest.mark.parametrize("length", [1, 3000, 10**7])
def test_a_message_keeps_its_beginning_and_end_and_a_bounded_length(length):
    error = LanguageError(f"expected a template, found {'a' * length!r} in words.toml")
    assert error.message.startswith("expected a template, found 'a")
    assert error.message.endswith("a' in words.toml")
    assert len(error.message) < 4000
    assert str(error) == error.message
    assert (" ... " in error.message) == (length > 3500)
