"""The transformer that the U-Net has at its lower levels: its tokens are the voxels of a grid."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from brainldm.config import UNetConfig
from brainldm.models.layers import Conv, zero
from brainldm.models.norm import GroupNorm


class Attention(nn.Module):
    """Multi-head attention of (B, N, channels) to (B, M, context_channels)."""

    def __init__(self, channels: int, head_channels: int, context_channels: int) -> None:
        super().__init__()
        self.head_channels = head_channels
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context_channels, channels, bias=False)
        self.to_v = nn.Linear(context_channels, channels, bias=False)
        self.out_proj = nn.Linear(channels, channels)

    def forward(
        self, x: Float[Tensor, "b n c"], context: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b o c"]:
        """(B, N, channels) -> (B, N, channels), or (B, 1, channels) for a context of one token."""
        value = self.to_v(context)
        if context.shape[1] > 1:
            q, k, v = (
                t.unflatten(2, (-1, self.head_channels)).transpose(1, 2)
                for t in (self.to_q(x), self.to_k(context), value)
            )
            value = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        # The softmax over one token is 1: every position takes that token's value.
        y: Tensor = self.out_proj(value)
        return y


class FeedForward(nn.Module):
    """Two linear layers with a gated GELU between them (Shazeer 2020, 2002.05202)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, 8 * channels)
        self.linear2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """(B, N, channels) -> (B, N, channels)."""
        value, gate = self.linear1(x).chunk(2, dim=-1)
        y: Tensor = self.linear2(value * F.gelu(gate))
        return y


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward, each after LayerNorm and added."""

    def __init__(self, channels: int, head_channels: int, context_dim: int) -> None:
        super().__init__()
        self.attn1 = Attention(channels, head_channels, channels)
        self.attn2 = Attention(channels, head_channels, context_dim)
        self.ff = FeedForward(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)

    def forward(
        self, x: Float[Tensor, "b n c"], context: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b n c"]:
        """x (B, N, channels), context (B, M, context_dim) -> (B, N, channels)."""
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), context)
        y: Tensor = x + self.ff(self.norm3(x))
        return y


class SpatialTransformer(nn.Module):
    """A transformer block over the voxels of a grid, beside a shortcut."""

    def __init__(self, c: UNetConfig, level: int) -> None:
        super().__init__()
        channels = c.channels[level]
        self.norm = GroupNorm(c.norm_num_groups, channels, c.norm_eps)
        self.proj_in = Conv(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            [TransformerBlock(channels, c.num_head_channels[level], c.context_dim)]
        )
        self.proj_out = zero(Conv(channels, channels, 1))

    def forward(
        self, x: Float[Tensor, "b c x y z"], context: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b c x y z"]:
        """x (B, C, X, Y, Z), context (B, M, context_dim) -> (B, C, X, Y, Z)."""
        h = self.proj_in(self.norm(x))
        tokens = h.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        y: Tensor = x + self.proj_out(tokens.transpose(1, 2).unflatten(2, h.shape[2:]))
        return y
