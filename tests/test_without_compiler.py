"""Networks built for their shapes, or for weights that come, draw no numbers: that would bring torch's compiler."""

import torch

from singaudit.without_compiler import nothing_drawn, shapes_alone


def test_a_network_of_shapes_alone_has_all_its_parameters_and_no_numbers():
    with shapes_alone():
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.LayerNorm(6), torch.nn.Embedding(5, 4))
        drawn = torch.nn.init.trunc_normal_(torch.nn.Parameter(torch.randn(7, 2)))
    assert sum(p.numel() for p in network.parameters()) == 8 * 27 + 8 + 12 + 20
    assert {p.device.type for p in (*network.parameters(), drawn)} == {"meta"}
    assert torch.nn.Linear(2, 2).weight.abs().sum() > 0


def test_constants_are_set_where_nothing_is_drawn():
    with nothing_drawn():
        norm, kept = torch.nn.BatchNorm1d(3), torch.nn.init.normal_(torch.full((2,), 7.0))
    assert norm.weight.tolist() == [1, 1, 1]
    assert kept.tolist() == [7, 7]
