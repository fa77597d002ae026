"""One pass: rows line up, duplicates and excluded images are left out, memory can spill to disk."""

from dataclasses import dataclass

import numpy as np
import pytest

from singaudit.cache.store import Cache
from singaudit.dataset.interface import Content, Image, Skipped
from singaudit.engine import gathering
from singaudit.engine.interface import Step
from singaudit.engine.local import run_pass
from singaudit.errors import DatasetError


class Source:
    name, labels, left_out = "made", None, ()

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    decoded = 0

    def read(self, index):
        value = self.values[index]
        if value is None:
            return Skipped(f"i{index}", "broken")

        def decode():
            self.decoded += 1
            return Image(f"i{index}", f"{value:064x}", np.full((2, 2, 3), value, np.uint8))

        return Content(f"i{index}", f"{value:064x}", decode)


@dataclass(frozen=True)
class Widened:
    """A recipe, and the model that it opens: the value of an image, so many times, and twice that value."""

    width: int

    def open(self):
        return self

    def prepare(self, pixels):
        return np.float32(pixels[0, 0, 0])

    def compute(self, inputs):
        return np.repeat(np.float32(inputs)[:, None], self.width, 1), np.float32(inputs)[:, None] * 2


def step(width=1, shelf=None):
    return Step(Widened(width), shelf)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_rows_are_distinct_images_in_order(batch_size):
    found = run_pass(Source([5, None, 7, 5, 9]), {"m": step()}, batch_size=batch_size)
    assert found.names == ["i0", "i2", "i4"]
    assert found.indices.tolist() == [0, 2, 4]
    assert found.outputs["m"][0][:, 0].tolist() == [5, 7, 9]
    assert found.outputs["m"][1][:, 0].tolist() == [10, 14, 18]
    assert (found.found, found.duplicates, [s.name for s in found.skipped]) == (5, 1, ["i1"])


def test_images_of_another_set_are_left_out():
    found = run_pass(Source([5, 6]), {"m": step()}, batch_size=2, exclude=frozenset([f"{5:064x}"]))
    assert (found.names, found.duplicates) == (["i1"], 1)


def test_large_outputs_go_to_disk_with_the_same_values(monkeypatch):
    values = list(range(40))
    small = run_pass(Source(values), {"m": step(8)}, batch_size=7)
    monkeypatch.setattr(gathering, "_IN_MEMORY_BYTES", 10)
    large = run_pass(Source(values), {"m": step(8)}, batch_size=7)
    assert isinstance(large.outputs["m"][0], np.memmap)
    np.testing.assert_array_equal(small.outputs["m"][0], large.outputs["m"][0])


def test_digest_does_not_depend_on_order():
    one = run_pass(Source([1, 2, 3]), {"m": step()}, batch_size=2)
    two = run_pass(Source([3, 1, 2]), {"m": step()}, batch_size=2)
    assert one.digest() == two.digest()


def test_limit_and_progress():
    told = []
    found = run_pass(Source([1, 2, None, 4]), {"m": step()}, batch_size=2, limit=3, progress=told.append)
    assert (found.found, found.names, sum(told)) == (3, ["i0", "i1"], 3)


def test_a_pass_may_start_in_the_middle():
    told = []
    found = run_pass(Source([1, 2, 3, 4]), {"m": step()}, batch_size=2, start=1, limit=3, progress=told.append)
    assert (found.found, found.names, found.indices.tolist(), sum(told)) == (2, ["i1", "i2"], [1, 2], 2)


def test_a_model_that_is_open_here_is_not_opened_again():
    class Never(Widened):
        def open(self):
            pytest.fail("it was opened")

    found = run_pass(Source([5]), {"m": Step(Never(1), here=Widened(3))}, batch_size=1)
    assert found.outputs["m"][0].tolist() == [[5, 5, 5]]


def test_nothing_readable_is_one_message():
    with pytest.raises(DatasetError, match=r"none of its 2 could be used.*broken"):
        run_pass(Source([None, None]), {"m": step()}, batch_size=2)


@pytest.mark.parametrize("known", [[], [5], [7, 9], [5, 7, 9]])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_known_rows_are_neither_decoded_nor_computed_and_the_numbers_are_the_same(tmp_path, known, batch_size):
    shelf = Cache(tmp_path).shelf("features", {})
    if known:
        run_pass(Source(known), {"m": step(3, shelf)}, batch_size=2)
    source, plain = Source([5, None, 7, 5, 9]), Source([5, None, 7, 5, 9])
    found = run_pass(source, {"m": step(3, shelf)}, batch_size=batch_size)
    expected = run_pass(plain, {"m": step(3)}, batch_size=batch_size)
    for mine, theirs in zip(found.outputs["m"], expected.outputs["m"], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (found.names, found.duplicates, found.skipped) == (expected.names, expected.duplicates, expected.skipped)
    assert source.decoded == sum(value not in known for value in [5, 7, 5, 9])
    again = Source([9, 7, 5])
    run_pass(again, {"m": step(3, Cache(tmp_path).shelf("features", {}))}, batch_size=batch_size)
    assert again.decoded == 0


def test_one_model_may_know_what_another_does_not(tmp_path):
    shelf = Cache(tmp_path).shelf("images", {})
    run_pass(Source([5, 7]), {"m": step(2, shelf)}, batch_size=2)
    found = run_pass(Source([5, 6, 7]), {"m": step(2, shelf), "n": step(1)}, batch_size=3)
    assert found.outputs["m"][0][:, 0].tolist() == found.outputs["n"][0][:, 0].tolist() == [5, 6, 7]


def test_an_interrupted_pass_leaves_what_it_computed(tmp_path):
    shelf = Cache(tmp_path).shelf("features", {})

    def stop(n):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pass(Source([1, 2, 3, 4]), {"m": step(1, shelf)}, batch_size=2, progress=stop)
    assert f"{2:064x}" in Cache(tmp_path).shelf("features", {})
