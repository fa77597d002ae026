"""The estimate before the first image: what is to be done times what a small batch took, and what would shorten it."""

from dataclasses import dataclass

import numpy as np
import pytest

from singaudit.cache.store import Cache
from singaudit.config import make_config
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Step
from singaudit.machine import cores
from singaudit.pipeline.passes import estimate
from singaudit.pipeline.passes.estimate import Estimate, said, timed


@dataclass
class Slow:
    """A model that counts its images."""

    seen: int = 0

    def open(self):
        return self

    def prepare(self, pixels):
        return np.float32(pixels.mean())

    def compute(self, inputs):
        self.seen += len(inputs)
        return (inputs[:, None],)


def config(**more):
    return make_config(model="builtin:leaky", images="shapes:500", **more)


@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_small_batch_of_each_model_that_has_something_to_do_is_timed(on_cpu):
    source, shelf = open_source("shapes:20"), Cache(None).shelf("features", {})
    shelf.add([f"{i:064x}" for i in range(500)], (np.zeros((500, 1), np.float32),))
    shelf.flush()
    done, new = Slow(), Slow()
    found = timed(source, {"classifier": Step(done, shelf), "encoder": Step(new)}, 500, 7, 0.5, on_cpu)
    assert found is not None
    batch = min(16, 4 * cores())
    assert (found.images, found.texts, done.seen, new.seen) == (500, 7, 0, batch if on_cpu else 2 * batch)
    assert set(found.seconds) == {"read", "encoder"}
    assert timed(source, {"classifier": Step(done, shelf)}, 500, 7, 0.5, on_cpu) is None


def test_the_whole_is_said_with_what_would_make_it_shorter(monkeypatch):
    monkeypatch.setattr(estimate, "multiplies_bf16", lambda: True)
    slow = Estimate(4000, {"read": 0.01, "classifier": 0.1, "encoder": 2.0}, 4000, 0.1)
    assert slow.total == 4000 * 2.11 + 400 + 20
    first, second = said(slow, config(), on_cpu=True)
    assert first.startswith("about 2.5 h for 4,000 images and 4,000 texts, most of it the language model (2.3 h)")
    assert "--vlm openai/clip-vit-base-patch32 (about 15 min" in second
    assert "pack" in second
    assert "card" in second
    assert "--precision bf16" in second
    assert "bf16" not in said(slow, config(precision="bf16"), on_cpu=True)[1]
    assert "card" not in said(slow, config(vlm="me/clip"), on_cpu=False)[1]
    reading = said(Estimate(4000, {"read": 1.0, "encoder": 0.1}, 0, 0.0), config(), on_cpu=True)
    assert len(reading) == 1
    assert "reading images" in reading[0]
    assert said(Estimate(200, {"read": 0.001}, 0, 0.0), config(), True) == ["about 20 s for 200 images and 0 texts"]
