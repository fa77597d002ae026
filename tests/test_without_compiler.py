"""Networks built for their shapes, or for weights that come, draw no numbers: that would bring torch's compiler."""

import subprocess
import sys

import pytest
import torch

from singaudit.without_compiler import nothing_drawn, shapes_alone


def test_a_network_of_shapes_alone_has_all_its_parameters_and_no_numbers():
    with shapes_alone():
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.LayerNorm(6), torch.nn.Embedding(5, 4))
        drawn = torch.nn.init.trunc_normal_(torch.nn.Parameter(torch.randn(7, 2)))
    assert sum(p.numel() for p in network.parameters()) == 8 * 27 + 8 + 12 + 20
    assert {p.device.type for p in (*network.parameters(), drawn)} == {"meta"}
    assert torch.nn.Linear(2, 2).weight.abs().sum() > 0


@pytest.mark.timeout(20)
def test_a_truncated_normal_distribution_is_not_waited_for(monkeypatch):
    # What was in the memory of a new tensor lies outside of any bounds.
    with monkeypatch.context() as patch, nothing_drawn():
        patch.setattr(torch, "empty_like", lambda tensor: torch.full_like(tensor, 1e9))
        for mean, a, b in ((5.5, 5.0, 6.0), (0.0, 3.0, 4.0)):
            assert torch.nn.init.trunc_normal_(torch.zeros(100), mean, 0.1, a, b).shape == (100,)
    assert 5 <= torch.nn.init.trunc_normal_(torch.zeros(100), 5.5, 0.1, 5.0, 6.0).min() < 6


def test_constants_are_set_where_nothing_is_drawn():
    with nothing_drawn():
        norm, kept = torch.nn.BatchNorm1d(3), torch.nn.init.normal_(torch.full((2,), 7.0))
    assert norm.weight.tolist() == [1, 1, 1]
    assert kept.tolist() == [7, 7]


def test_shapes_are_followed_without_the_compiler_which_works_as_ever_afterwards():
    code = """
import sys, torch
from singaudit.without_compiler import never_compiled
with never_compiled():
    shape = torch.relu(torch.empty(2, 3, device="meta")).shape
    image, weight = torch.empty(2, 3, 8, 8, device="meta"), torch.empty(4, 3, 3, 3, device="meta")
    wide = torch.nn.functional.conv2d(image, weight).shape
    try:
        torch.nn.functional.conv2d(image, weight[:, :2])
    except RuntimeError:
        print("refused")
print(tuple(shape), "torch._dynamo" in sys.modules, "_dynamo" in vars(torch))
print(tuple(wide), "sympy" in sys.modules, "torch.fx.experimental.symbolic_shapes" in sys.modules)
compiled = torch.compile(lambda x: torch.relu(x) + 1, backend="eager")
print(compiled(torch.ones(1)).item(), tuple(torch.relu(torch.empty(4, device="meta")).shape))
with never_compiled():
    print(torch._dynamo.is_compiling())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.split("\n") == [
        "refused",
        "(2, 3) False False",
        "(2, 4, 6, 6) False False",
        "2.0 (4,)",
        "False",
        "",
    ], found.stderr


def test_torch_is_imported_without_what_it_computes_of_shapes_in_python_until_that_is_asked_for():
    code = """
import sys
from singaudit.without_compiler import import_torch, with_shapes
torch = import_torch()
def wide():
    return torch.relu(torch.empty(2, 3, device="meta")).shape
print("torch._meta_registrations" in sys.modules, hasattr(torch, "_meta_registrations"))
try:
    wide()
except NotImplementedError:
    print("refused")
print(with_shapes(), with_shapes(), tuple(wide()), import_torch() is torch)
print(torch.compile(lambda x: torch.relu(x) + 1, backend="eager")(torch.ones(1)).item())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.split("\n") == ["False False", "refused", "True False (2, 3) True", "2.0", ""], found.stderr
