"""A prior over code volumes, one code after the other: Gated PixelCNN (van den Oord et al. 2016, arXiv:1606.05328).

Their vertical and horizontal stack, in 3-D: a depth stack has seen all planes before this one, a row stack all rows
before this one in this plane, a column stack all codes before this one in this row; each hears the ones before it.
Nothing is masked: each stack is shifted by one step at the start and from then on looks at itself and back. So no
weight is wasted, no earlier code falls in a blind spot, and what a stack has seen need not be computed again for the
next code: a sample costs about one pass, not one pass a code.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import Conv3d, NetShape, at_least_float32, check_counts

OCTAVES = 4  # of the sines that tell a stack where in the volume it is


@dataclass(frozen=True)
class PriorShape(NetShape):
    """codes: of the codebook; channels: of each stack; layers, and the kernel's edge: each layer sees (kernel - 1) / 2
    further along every axis, so that `layers` of at least the volume's side see all of an 8^3 volume with kernel 3."""

    codes: int
    channels: int = 64
    layers: int = 8
    kernel: int = 3

    def __post_init__(self) -> None:
        check_counts(1, codes=self.codes, channels=self.channels, layers=self.layers)
        if type(self.kernel) is not int or self.kernel < 3 or self.kernel % 2 == 0:
            raise ValueError(f"kernel is {self.kernel!r}; give an odd integer of at least 3")


class GatedLayer(nn.Module):
    """One layer of the three stacks. Each step takes a window whose first planes (rows, codes) are the past.

    A step gives what the next stack hears, and the stack's residual: x + W tanh(a) sigmoid(b).
    """

    def __init__(self, channels: int, kernel: int, positions: int, *, last: bool) -> None:
        super().__init__()
        half = kernel // 2
        self.reach, self.last = half, last
        self.depth = Conv3d(channels, 2 * channels, (half + 1, kernel, kernel), padding=(0, half, half))
        self.row = Conv3d(channels, 2 * channels, (1, half + 1, kernel), padding=(0, 0, half))
        self.column = Conv3d(channels, 2 * channels, (1, 1, half + 1))
        self.where = nn.ModuleList(Conv3d(positions, 2 * channels, 1, bias=False) for _ in range(3))
        self.hear = nn.ModuleList(Conv3d(2 * channels, 2 * channels, 1) for _ in range(2))
        # the prediction is read from the column stack: in the last layer the others have nobody to go on for
        self.out = nn.ModuleList(Conv3d(channels, channels, 1) for _ in range(1 if last else 3))

    def depth_step(self, window: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """Window (B, C, reach + n, h, w) -> (2C channels to hear, C channels to go on), of the last n planes."""
        gates = self.depth(window) + where
        return self.hear[0](gates), self._residual(2, window[:, :, self.reach :], gates)

    def row_step(self, window: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Window (B, C, n, reach + m, w), heard from depth -> the same of the last m rows."""
        gates = self.row(window) + heard
        return self.hear[1](gates), self._residual(1, window[:, :, :, self.reach :], gates)

    def column_step(self, window: Tensor, heard: Tensor) -> Tensor:
        """Window (B, C, n, m, reach + l), heard from the rows -> the last l codes' (B, C, n, m, l)."""
        return self._residual(0, window[..., self.reach :], self.column(window) + heard)

    def _residual(self, stack: int, x: Tensor, gates: Tensor) -> Tensor:
        return x if stack >= len(self.out) else x + self.out[stack](_gate(gates))


class MaskedPrior(nn.Module):
    """Codes (B, d, h, w), int64, any sides -> logits (B, codes, d, h, w): position i knows all codes j < i, no others.

    i counts in raster order, the last axis fastest. -log p(codes) = F.cross_entropy(prior(codes), codes).
    """

    def __init__(self, shape: PriorShape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.codes, shape.channels)
        self.layers = nn.ModuleList(
            GatedLayer(shape.channels, shape.kernel, 6 * OCTAVES, last=layer == shape.layers - 1)
            for layer in range(shape.layers)
        )
        self.hidden = Conv3d(shape.channels, 2 * shape.channels, 1)
        self.head = Conv3d(2 * shape.channels, shape.codes, 1)

    def forward(self, codes: Tensor) -> Tensor:
        if codes.ndim != 4 or codes.is_floating_point():
            raise ValueError(f"codes are {codes.dtype} {tuple(codes.shape)}; give integers (B, d, h, w)")
        x = self._embed(codes)
        depth, row, column = (_past(x, axis, 1).narrow(axis, 0, x.shape[axis]) for axis in (2, 3, 4))
        places = positions(codes.shape[1:], like=x)
        for layer in self.layers:
            in_depth, in_row, in_column = (where(places) for where in layer.where)
            heard, depth = layer.depth_step(_past(depth, 2, layer.reach), in_depth)
            heard, row = layer.row_step(_past(row, 3, layer.reach), heard + in_row)
            column = layer.column_step(_past(column, 4, layer.reach), heard + in_column)
        return at_least_float32(self.head(F.relu(self.hidden(F.relu(column)))))

    @torch.no_grad()
    def sample(
        self, shape: Sequence[int], generators: Sequence[torch.Generator], *, temperature: float = 1.0
    ) -> Tensor:
        """Codes (len(generators), *shape); item k is what it would be alone, drawn from generators[k].

        temperature: logits are divided by it; 1 samples the learned distribution, below 1 its more likely part.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape is {tuple(shape)}; give three sides (d, h, w) of at least 1")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; give a number above 0, 1 for the learned distribution")
        if not generators:
            raise ValueError("generators is empty; give one torch.Generator for each volume to sample")
        size = math.prod(shape)
        uniform = torch.stack([torch.rand(size, generator=g, dtype=torch.float64, device=g.device) for g in generators])
        weight = self.embedding.weight
        # in float64: the last bits of a product change with the size of the batch, and no code may hang on them
        with torch.autocast(weight.device.type, enabled=False):
            return copy.deepcopy(self).double()._draw(uniform.to(weight.device).reshape(-1, *shape), temperature)

    def _draw(self, uniform: Tensor, temperature: float) -> Tensor:
        """The code at which the cumulative probability passes uniform (B, d, h, w), each given the ones before."""
        batch, d, h, w = uniform.shape
        reach, places = self.layers[0].reach, positions((d, h, w), like=uniform)
        in_depth, in_row, in_column = ([layer.where[k](places) for layer in self.layers] for k in range(3))

        def nothing(*sides: int) -> Tensor:
            return uniform.new_zeros(batch, self.shape.channels, *sides)

        codes = torch.zeros(batch, d, h, w, dtype=torch.int64, device=uniform.device)
        past_planes = [nothing(reach, h, w) for _ in self.layers]
        for z in range(d):
            plane = self._embed(codes[:, z - 1 : z]) if z else nothing(1, h, w)
            to_rows, past_rows = [], [nothing(1, reach, w) for _ in self.layers]
            for k, layer in enumerate(self.layers):
                window = torch.cat([past_planes[k], plane], dim=2)
                heard, plane = layer.depth_step(window, in_depth[k][:, :, z : z + 1])
                past_planes[k] = window[:, :, 1:]
                to_rows.append(heard + in_row[k][:, :, z : z + 1])
            for y in range(h):
                row = self._embed(codes[:, z : z + 1, y - 1 : y]) if y else nothing(1, 1, w)
                to_columns = []
                for k, layer in enumerate(self.layers):
                    window = torch.cat([past_rows[k], row], dim=3)
                    heard, row = layer.row_step(window, to_rows[k][:, :, :, y : y + 1])
                    past_rows[k] = window[:, :, :, 1:]
                    to_columns.append((heard + in_column[k][:, :, z : z + 1, y : y + 1])[:, :, 0, 0])
                codes[:, z, y] = self._draw_row(to_columns, uniform[:, z, y], temperature)
        return codes

    def _draw_row(self, heard: list[Tensor], uniform: Tensor, temperature: float) -> Tensor:
        """Codes (B, w) of one row, from what its layers' column stacks hear, (B, 2C, w) each."""
        past = [uniform.new_zeros(len(uniform), self.shape.channels, layer.reach) for layer in self.layers]
        weights = [  # a convolution at one position is a product
            (layer.column.weight.flatten(1), layer.column.bias, layer.out[0].weight.flatten(1), layer.out[0].bias)
            for layer in self.layers
        ]
        head = [(conv.weight.flatten(1), conv.bias) for conv in (self.hidden, self.head)]
        codes: list[Tensor] = []
        for x in range(uniform.shape[1]):
            column = self.embedding(codes[-1]) if codes else torch.zeros_like(past[0][:, :, 0])
            for k, (taps, bias, out, out_bias) in enumerate(weights):
                window = torch.cat([past[k], column[:, :, None]], dim=2)
                past[k] = window[:, :, 1:]
                gates = F.linear(window.flatten(1), taps, bias) + heard[k][:, :, x]
                column = column + F.linear(_gate(gates), out, out_bias)
            logits = F.linear(F.relu(F.linear(F.relu(column), *head[0])), *head[1])
            cumulative = (logits / temperature).softmax(1).cumsum(1)
            codes.append((cumulative <= uniform[:, x, None] * cumulative[:, -1:]).sum(1))
        return torch.stack(codes, dim=1)

    def _embed(self, codes: Tensor) -> Tensor:
        return self.embedding(codes).movedim(-1, 1)


def positions(shape: Sequence[int], *, like: Tensor) -> Tensor:
    """(1, 6 OCTAVES, d, h, w): sines and cosines of each position along each axis, from one end to the other."""
    axes = []
    for n in shape:
        angle = math.pi * (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n
        angles = angle * 2.0 ** torch.arange(OCTAVES, device=like.device, dtype=like.dtype)[:, None]
        axes.append(torch.cat([angles.sin(), angles.cos()]))  # (2 OCTAVES, n)
    d, h, w = shape
    grids = (axes[0][:, :, None, None], axes[1][:, None, :, None], axes[2][:, None, None, :])
    return torch.cat([grid.expand(-1, d, h, w) for grid in grids])[None]


def _past(x: Tensor, axis: int, steps: int) -> Tensor:
    """x with `steps` zeros before its first element along the axis: before the first code there was nothing."""
    return torch.cat([x.new_zeros(*x.shape[:axis], steps, *x.shape[axis + 1 :]), x], dim=axis)


def _gate(gates: Tensor) -> Tensor:
    a, b = gates.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)
