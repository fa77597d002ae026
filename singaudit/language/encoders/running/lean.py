"""CLIP's two towers with nothing computed that no embedding is read from, as modules to export or to run.

An embedding is read from one token: the last layer is computed for that one alone. The text tower looks back only
(Radford et al., 2021, section 2.4), so that what it computes of a text's first tokens is the same whatever follows
them: keys and values of a beginning, such as "a photo of a", are computed once for all texts that share it. What
follows the token that ends a text is left out.

Weights are laid out as matrix products read them, and the three of an attention are one: an exported model starts
sooner. Whether a tower agrees with its library's is for those to find out who use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from singaudit.language.encoders.running.beginnings import BEGINNING

LARGEST = -1
"""In a token's place: the largest of a text, as CLIP's first release took for its end."""


@dataclass(frozen=True)
class Lean:
    """The towers of one model that can be had so; None for those that cannot."""

    image: ImageTower | None
    """Prepared images (n, 3, H, W) -> (n, d)."""
    text: TextTower | None
    """As ``TextTower.forward``."""
    end: int
    """Token that ends a text, or ``LARGEST``."""


class _Product(nn.Module):
    """x W + b, W (in, out) as it is multiplied."""

    def __init__(self, linears: Sequence[tuple[Tensor, Tensor | None]], first: float = 1.0) -> None:
        """``linears``: weights (out, in) and biases, side by side; the first is multiplied by ``first``."""
        super().__init__()
        sizes = [len(weight) for weight, _ in linears]
        laid_out = linears[0][0].new_empty(linears[0][0].shape[1], sum(sizes))
        for part, (weight, _) in zip(laid_out.split(sizes, dim=1), linears, strict=True):
            part.copy_(weight.detach().t())
        laid_out[:, : sizes[0]] *= first
        self.weight = nn.Parameter(laid_out, requires_grad=False)
        biases = [b.detach() for _, b in linears if b is not None]
        if biases and len(biases) < len(linears):
            raise ValueError("biases of some only")
        if biases:
            biases[0] = biases[0] * first
        self.bias = nn.Parameter(torch.cat(biases), requires_grad=False) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        product = torch.matmul(_as(x, self.weight.dtype), self.weight)
        return product if self.bias is None else product + self.bias


class _Layer(nn.Module):
    """One layer of a transformer whose norms come first: x + attention(norm x), then x + mlp(norm x)."""

    def __init__(
        self, norms: Sequence[nn.Module], attention: Sequence[tuple[Tensor, Tensor | None]], heads: int,
        mlp: tuple[nn.Linear, nn.Module, nn.Linear],
    ) -> None:  # fmt: skip
        """``attention``: weights and biases of queries, keys, values and of what comes out."""
        super().__init__()
        width = attention[0][0].shape[1]
        self.heads, self.size = heads, width // heads
        self.norm_1, self.norm_2 = norms
        self.inward, self.outward = _Product(attention[:3], self.size**-0.5), _Product(attention[3:])
        self.up, self.activation, self.down = _product(mlp[0]), mlp[1], _product(mlp[2])

    def forward(self, x: Tensor, before: tuple[Tensor, Tensor] | None, mask: Tensor | None, one: int | None) -> Any:
        """x (n, s, width) -> (the same, its keys, its values); of the token ``one`` alone where that is asked.

        ``before``: keys and values (n, heads, p, size) of the tokens before; ``mask`` (s, p + s) is added.
        """
        inward = self.inward(self.norm_1(x)).view(*x.shape[:2], 3, self.heads, self.size)
        queries, keys, values = (inward[:, :, i].transpose(1, 2) for i in range(3))
        found = keys, values
        if before is not None:
            pairs = zip(before, found, strict=True)
            keys, values = (torch.cat((_as(first, keys.dtype), then), dim=2) for first, then in pairs)
        if one is not None:
            queries, x = _token(queries.transpose(1, 2), one).transpose(1, 2), _token(x, one)
            mask = None if mask is None else mask[one:]
        weights = torch.matmul(queries, keys.transpose(-1, -2))
        weights = torch.softmax(weights if mask is None else weights + mask, dim=-1)
        x = x + self.outward(torch.matmul(weights, values).transpose(1, 2).flatten(2))
        return x + self.down(self.activation(self.up(self.norm_2(x)))), *found


def _as(x: Tensor, kind: torch.dtype) -> Tensor:
    # An exporter writes down a conversion even to the same.
    return x if x.dtype == kind else x.to(kind)


def _token(x: Tensor, one: int) -> Tensor:
    """(n, 1, width): the first (0) or the last (-1) token."""
    return x[:, one:] if one < 0 else x[:, one : one + 1]


def _product(linear: nn.Linear) -> _Product:
    return _Product([(linear.weight, linear.bias)])


class ImageTower(nn.Module):
    """A vision transformer read from its first token: ``start`` makes tokens of images, ``end`` an embedding of one."""

    def __init__(self, start: nn.Module, layers: Sequence[_Layer], norm: nn.Module, end: nn.Module) -> None:
        super().__init__()
        self.start, self.layers, self.norm, self.end = start, nn.ModuleList(layers), norm, end

    def forward(self, rows: Tensor) -> Tensor:
        """Prepared images (n, 3, H, W) -> (n, d)."""
        x = self.start(rows)
        for i, layer in enumerate(self.layers):
            x = layer(x, None, None, 0 if i == len(self.layers) - 1 else None)[0]
        return self.end(self.norm(x[:, 0]))


class TextTower(nn.Module):
    """A text transformer that looks back alone, read from its last token."""

    def __init__(
        self, words: Tensor, positions: Tensor, layers: Sequence[_Layer], norm: nn.Module, end: _Product
    ) -> None:
        super().__init__()
        self.words = nn.Parameter(words.detach(), requires_grad=False)
        self.positions = nn.Parameter(positions.detach(), requires_grad=False)
        self.layers, self.norm, self.end = nn.ModuleList(layers), norm, end

    @property
    def state(self) -> tuple[int, int, int]:
        """Layers, heads and numbers of a head: of one token's keys, and of its values."""
        first = self.layers[0]
        assert isinstance(first, _Layer)
        return len(self.layers), first.heads, first.size

    def forward(self, rows: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (n, s) behind p others, whose keys and values (n, layers, heads, p, size) are given.

        Returns (n, d) read from the last token, and keys and values of the first ``BEGINNING`` of these tokens.
        """
        begun, here = keys.shape[3], rows.shape[1]
        place = torch.arange(begun + here, device=rows.device)
        x = functional.embedding(rows, self.words) + self.positions[place[begun:]]
        later = place[None, :] > place[begun:, None]
        kind = self.end.weight.dtype  # as of the products that it is added to
        mask = later.to(kind) * torch.finfo(kind).min
        found = []
        for i, layer in enumerate(self.layers):
            last = -1 if i == len(self.layers) - 1 else None
            x, key, value = layer(x, (keys[:, i], values[:, i]), mask, last)
            found.append((key[:, :, :BEGINNING], value[:, :, :BEGINNING]))
        made = (torch.stack(parts, dim=1) for parts in zip(*found, strict=True))
        return self.end(self.norm(x[:, -1])), *made


def halve(tower: ImageTower | TextTower) -> None:
    """Let the products of a tower's layers be computed in bf16, in place.

    What they are added to stays float32: that costs hardly anything, and embeddings are a few times as close to those
    of float32 as where every number is in bf16.
    """
    # Images run in pieces of one size. The bits of a text must not depend on how many run with it: in float32 those of
    # the last product do.
    where = [tower.layers, tower.end] if isinstance(tower, TextTower) else [tower.layers]
    for product in (part for place in where for part in place.modules() if isinstance(part, _Product)):
        product.to(torch.bfloat16)
    for parameter in tower.parameters():
        # What stays may lie in the library's model, and so in a file that is mapped for as long.
        if parameter.dtype == torch.float32:
            parameter.data = parameter.data.clone()


def _of_one_precision(model: Any) -> bool:
    return {p.dtype for p in model.parameters()} == {torch.float32}


def of_transformers(model: Any) -> Lean | None:
    """The towers of transformers' CLIP or a class written after it; None for what is built otherwise."""
    if not _of_one_precision(model):
        return None
    try:
        text, vision = model.text_model, model.vision_model
        layers = [[_of_transformers(layer) for layer in part.encoder.layers] for part in (text, vision)]
        table = text.embeddings
        words, positions = table.token_embedding.weight, table.position_embedding.weight
        # CLIP's checkpoints of before 2023 state 2, and mean the largest.
        end = LARGEST if text.eos_token_id == 2 and model.config.model_type == "clip" else int(text.eos_token_id)
        return Lean(
            ImageTower(
                nn.Sequential(vision.embeddings, vision.pre_layrnorm), layers[1], vision.post_layernorm,
                _product(model.visual_projection),
            ),
            TextTower(words, positions, layers[0], text.final_layer_norm, _product(model.text_projection)),
            end,
        )  # fmt: skip
    except (AttributeError, TypeError, ValueError):
        return None


def _of_transformers(layer: Any) -> _Layer:
    inside, mlp = layer.self_attn, layer.mlp
    parts = [(p.weight, p.bias) for p in (inside.q_proj, inside.k_proj, inside.v_proj, inside.out_proj)]
    return _Layer(
        (layer.layer_norm1, layer.layer_norm2), parts, inside.num_heads, (mlp.fc1, mlp.activation_fn, mlp.fc2)
    )


def of_open_clip(model: Any) -> Lean | None:
    """The text tower of a model of open_clip where it looks back alone; None for what is built otherwise.

    It shares no module with the model, which still runs images, perhaps in another precision.
    """
    if not _of_one_precision(model):
        return None
    try:
        tower = getattr(model, "text", model)
        pool = model.text_pool_type if tower is model else tower.pool_type
        if tower.attn_mask is None or getattr(tower, "cls_emb", None) is not None or pool not in ("argmax", "eos"):
            return None
        end = LARGEST if pool == "argmax" else int(model.text_eos_id if tower is model else tower.eos_id)
        layers = [_of_open_clip(block) for block in tower.transformer.resblocks]
        project = tower.text_projection
        last = _product(project) if isinstance(project, nn.Linear) else _Product([(project.t(), None)])
        words, positions = tower.token_embedding.weight, tower.positional_embedding
        return Lean(None, TextTower(words, positions, layers, deepcopy(tower.ln_final), last), end)
    except (AttributeError, TypeError, ValueError):
        return None


def _of_open_clip(block: Any) -> _Layer:
    if type(block).__name__ != "ResidualAttentionBlock" or not isinstance(block.ls_1, nn.Identity):
        raise TypeError("a block of another kind")
    inside, mlp = block.attn, block.mlp
    inward = zip(inside.in_proj_weight.chunk(3), inside.in_proj_bias.chunk(3), strict=True)
    outward = inside.out_proj.weight, inside.out_proj.bias
    return _Layer((deepcopy(block.ln_1), deepcopy(block.ln_2)), [*inward, outward], inside.num_heads, tuple(mlp))
