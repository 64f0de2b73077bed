"""Whisper's network (Radford et al. 2022) in PyTorch, small, with CTC heads that are thrown away at export."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train_recognizer.features import MELS


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes: `vocabulary` rows are learned of Whisper's 51,865; `units` are those of the CTC heads."""

    vocabulary: int
    units: int
    width: int = 256
    heads: int = 4
    encoder: int = 4
    decoder: int = 4
    positions: int = 448


def sinusoids(length: int, width: int) -> Tensor:
    """Return Whisper's fixed encoder positions, of shape (length, width)."""
    scale = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angle = torch.arange(length)[:, None] * scale[None]
    return torch.cat([angle.sin(), angle.cos()], 1)


class Attention(nn.Module):
    """Multi-head attention; across to the encoder it keeps its weights in `last` while training."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.last: Tensor | None = None

    def forward(self, x: Tensor, other: Tensor | None = None, causal: bool = False) -> Tensor:
        batch, length, width = x.shape
        source = x if other is None else other

        def split(t: Tensor) -> Tensor:
            return t.view(batch, -1, self.heads, width // self.heads).transpose(1, 2)

        q, k, v = split(self.q_proj(x)), split(self.k_proj(source)), split(self.v_proj(source))
        if self.training and not causal:  # written out: faster on a CPU, and the weights are wanted
            weights = (q * (width // self.heads) ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
            if other is not None:
                self.last = weights
            y = weights @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        result: Tensor = self.out_proj(y.transpose(1, 2).reshape(batch, length, width))
        return result


class Layer(nn.Module):
    """A layer of encoder or decoder, normalised before each part."""

    def __init__(self, width: int, heads: int, across: bool, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.across = across
        self.dropout = dropout
        if across:
            self.encoder_attn = Attention(width, heads)
            self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, states: Tensor | None = None) -> Tensor:
        def drop(t: Tensor) -> Tensor:
            return F.dropout(t, self.dropout, self.training)

        x = x + drop(self.self_attn(self.self_attn_layer_norm(x), causal=self.across))
        if self.across:
            x = x + drop(self.encoder_attn(self.encoder_attn_layer_norm(x), states))
        return x + drop(self.fc2(F.gelu(self.fc1(self.final_layer_norm(x)))))


class Network(nn.Module):
    """Encoder, decoder and CTC heads after half of the encoder and after all of it."""

    epos: Tensor

    def __init__(self, shape: Shape, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape = shape
        d = shape.width
        self.conv1 = nn.Conv1d(MELS, d, 3, padding=1)
        self.conv2 = nn.Conv1d(d, d, 3, stride=2, padding=1)
        self.register_buffer("epos", sinusoids(1500, d))
        self.enc = nn.ModuleList([Layer(d, shape.heads, False, 0.0) for _ in range(shape.encoder)])
        self.enc_ln = nn.LayerNorm(d)
        self.emb = nn.Embedding(shape.vocabulary, d)
        self.dpos = nn.Parameter(torch.randn(shape.positions, d) * 0.02)
        self.dec = nn.ModuleList([Layer(d, shape.heads, True, dropout) for _ in range(shape.decoder)])
        self.dec_ln = nn.LayerNorm(d)
        self.obias = nn.Parameter(torch.zeros(shape.vocabulary))
        self.ctc = nn.Linear(d, shape.units)
        self.ctc_mid = nn.Linear(d, shape.units)
        nn.init.normal_(self.emb.weight, std=d**-0.5)

    def encode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return states of shape (batch, frames / 2, width) at the end and at half, of features (batch, 80, frames)."""
        x = F.gelu(self.conv1(features))
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        x = x + self.epos[: x.size(1)]
        middle = x
        for index, layer in enumerate(self.enc):
            x = layer(x)
            if index == len(self.enc) // 2 - 1:
                middle = x
        return self.enc_ln(x), middle

    def decode(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Return hidden states of shape (batch, tokens, width)."""
        x = self.emb(tokens) + self.dpos[: tokens.size(1)]
        for layer in self.dec:
            x = layer(x, states)
        y: Tensor = self.dec_ln(x)
        return y

    def logits(self, hidden: Tensor) -> Tensor:
        """Return scores over the learned rows of the vocabulary."""
        return F.linear(hidden, self.emb.weight, self.obias)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return what belongs to the encoder and its heads."""
        names = ("conv", "enc.", "enc_ln", "ctc")
        return [p for n, p in self.named_parameters() if n.startswith(names)]

    def adopt(self, state: dict[str, Tensor], old_ids: list[int], ids: list[int]) -> None:
        """Take over a smaller network's weights: its layers first, rows of the vocabulary by token id.

        Layers that the other one lacks start as if they were not there (their outputs are zero); units of the CTC heads
        that differ in number start anew.
        """
        own = self.state_dict()
        where = {token: row for row, token in enumerate(old_ids)}
        for name, value in own.items():
            if name in ("emb.weight", "obias"):
                for row, token in enumerate(ids):
                    if token in where:
                        value[row] = state[name][where[token]]
                    elif name == "obias":
                        value[row] = state[name].min()
            elif name in state and state[name].shape == value.shape:
                value.copy_(state[name])
            elif name.startswith(("enc.", "dec.")) and name.endswith(
                ("out_proj.weight", "out_proj.bias", "fc2.weight", "fc2.bias")
            ):
                value.zero_()
        self.load_state_dict(own)


def save(file: str, network: Network, ids: list[int], **more: Any) -> None:
    """Write a checkpoint, whole or not at all."""
    import os

    torch.save({"state": network.state_dict(), "shape": asdict(network.shape), "ids": ids, **more}, file + ".part")
    os.replace(file + ".part", file)


def load(file: str, dropout: float = 0.1) -> tuple[Network, list[int], dict[str, Any]]:
    """Read a checkpoint: the network, its token ids, and what else was saved."""
    held = torch.load(file, map_location="cpu", weights_only=False)
    network = Network(Shape(**held["shape"]), dropout)
    network.load_state_dict(held["state"])
    return network, held["ids"], held
