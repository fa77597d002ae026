"""A CLIP tokenizer whose vocabulary holds the generated world's words whole and spells everything else in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

LONGEST_TEXT = 32
"""Tokens, start and end included."""


def build_tokenizer(words: Sequence[str]) -> CLIPTokenizer:
    """A tokenizer in CLIP's own format: bytes, bytes that end a word, merges, start, end.

    Merges are learned by byte-pair encoding on ``words`` until each is one token, so that no merge of one word can
    tear another.
    """
    letters = list(bytes_to_unicode().values())
    merges = _merges(words)
    tokens = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LONGEST_TEXT)


def _merges(words: Sequence[str]) -> list[tuple[str, str]]:
    spelled = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(pair for pieces in spelled.values() for pair in pairwise(pieces))
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))  # ties by spelling: the same vocabulary every time
        merges.append(best)
        for word, pieces in spelled.items():
            spelled[word] = _merge(pieces, best)


def _merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    k = 0
    while k < len(pieces):
        if tuple(pieces[k : k + 2]) == pair:
            merged.append(pieces[k] + pieces[k + 1])
            k += 2
        else:
            merged.append(pieces[k])
            k += 1
    return merged
