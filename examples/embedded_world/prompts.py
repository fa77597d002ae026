"""What the tiny CLIP reads in training: single-attribute prompts and varied captions of the generated world."""

from __future__ import annotations

import string

import numpy as np

from singaudit.dataset.generated.scenes import ATTRIBUTES, Scenes, phrase

OUTLINES = {
    "round": ("circle", "ring", "heart", "crescent"),
    "angular": ("square", "triangle", "star", "cross"),
}
"""A coarser reading of the shape, so that two-class models have prompts the encoder understands."""

FRAMES = (
    "{}", "{}.", "an image of {}", "an image of {}.", "a photo of {}", "a photo of {}.", "a picture of {}",
    "a picture of {}.", "a drawing of {}", "a rendering of {}", "a photograph of {}", "an image showing {}",
    "an image with {}", "a close-up photo of {}.", "a good photo of {}.", "a bad photo of {}.", "this is {}",
    "there is {} in the image", "a cropped photo of {}.", "a blurry image of {}", "itap of {}.", "image of {}",
)  # fmt: skip
BARE = ("an image", "a photo", "a picture", "an image of something", "a photo of a shape", "an image.", "a shape")
FILLERS = ("nice", "simple", "single", "good", "the", "one", "clean", "new", "very", "object", "thing")

GROUPS: dict[str, tuple[str, ...]] = {**ATTRIBUTES, "outline": tuple(OUTLINES)}


def targets(scenes: Scenes) -> dict[str, np.ndarray]:
    """(n,) int64 per group: which of its values each scene has."""
    found = {name: getattr(scenes, name) for name in ATTRIBUTES}
    angular = np.asarray([name in OUTLINES["angular"] for name in ATTRIBUTES["shape"]], dtype=np.int64)
    return {**found, "outline": angular[scenes.shape]}


def prompt(group: str, value: str, rng: np.random.Generator) -> str:
    """One sentence that names one attribute and nothing else."""
    words = phrase({"shape": f"{value} shape"} if group == "outline" else {group: value})
    draw = rng.random()
    if group == "shape" and draw < 0.15:
        words = value
    elif group in ("colour", "texture", "size", "outline") and draw < 0.3:
        noun = ("object", "thing", "figure")[int(rng.integers(3))] if draw < 0.15 else None
        words = words.replace("shape", noun) if noun else value
    elif group == "background_colour" and draw < 0.3:
        words = f"a {value} background" if draw < 0.15 else f"{value} background"
    elif group == "background_pattern" and draw < 0.3:
        words = f"a {value} background" if draw < 0.15 else value
    return _dress(words, rng)


def caption(words: dict[str, str], rng: np.random.Generator) -> tuple[str, frozenset[str]]:
    """A sentence that names a random part of ``words`` (attribute to value), and which attributes it names."""
    names = list(ATTRIBUTES)
    how_many = int(rng.choice([0, 1, 2, 3, 4, 6], p=[0.04, 0.16, 0.3, 0.25, 0.15, 0.1]))
    if how_many == 0:
        return BARE[int(rng.integers(len(BARE)))], frozenset()
    chosen = [names[k] for k in rng.choice(len(names), how_many, replace=False)]
    return _dress(phrase({name: words[name] for name in chosen}), rng), frozenset(chosen)


def _dress(words: str, rng: np.random.Generator) -> str:
    """Put a phrase into a random frame; now and then add a word that means nothing, or drop the article's n."""
    text = FRAMES[int(rng.integers(len(FRAMES)))].format(words)
    if rng.random() < 0.1:
        # Words the vocabulary lacks reach the model as letters: it must learn to read past them.
        letters = "".join(rng.choice(list(string.ascii_lowercase), int(rng.integers(3, 8))))
        filler = letters if rng.random() < 0.6 else FILLERS[int(rng.integers(len(FILLERS)))]
        pieces = text.split(" ")
        pieces.insert(int(rng.integers(len(pieces))), filler)
        text = " ".join(pieces)
    if rng.random() < 0.1:
        text = text.replace("an orange", "a orange").replace("an angular", "a angular")
    return text


def vocabulary_words() -> list[str]:
    """Every word that training may use, sorted."""
    values = [value for names in GROUPS.values() for value in names]
    text = " ".join([*FRAMES, *BARE, *FILLERS, *values, "shape background on object thing figure a an"])
    return sorted({"".join(c for c in word if c.isalpha()) for word in text.replace("-", " ").split()} - {""})
