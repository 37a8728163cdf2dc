"""Weights of a narrower network, or of one that was shown less, for a larger one, which says the same at first.

What is shown in addition (the last channels of the input) counts 0. Of a wider level the new channels are copies, some
in each of the norms' groups, to which nobody listens yet (Chen et al. 2016, arXiv:1511.05641); only the norms tell the
difference, where they do not count each channel equally often.
"""

from collections.abc import Mapping

import torch

from ..nets.blocks import at_most_8_groups


def grown(weights: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights for a network with the state `own`; what differs otherwise stays as it is, for `load_into` to say."""
    result = {}
    for name, weight in weights.items():
        wanted = own[name].shape if name in own else weight.shape
        if weight.ndim == len(wanted) > 0:
            shown = name.startswith("encoder.0.0.") and "conv2" not in name
            if _wider(len(weight), wanted[0]):
                weight = weight[_copied(len(weight), wanted[0])[0]]
            if weight.ndim > 1 and (shown or _wider(weight.shape[1], wanted[1])):
                weight = _listening(weight, wanted[1], shown=shown)
        result[name] = weight
    return result


def _wider(channels: int, more: int) -> bool:
    """Whether there are more, in as many groups."""
    return more > channels and at_most_8_groups(more) == at_most_8_groups(channels)


def _copied(channels: int, more: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of which channel each of `more` is a copy, and whether it is the first one; group by group."""
    groups = at_most_8_groups(channels)
    had, has = channels // groups, more // groups
    within = had - 1 - torch.arange(more).flip(0) % has * had // has  # evenly; of 3 the last is there twice among 4
    of = torch.arange(more) // has * had + within
    return of, torch.cat([torch.tensor([True]), of[1:] != of[:-1]])


def _listening(kernel: torch.Tensor, more: int, *, shown: bool) -> torch.Tensor:
    """A kernel (out, in, ...) for `more` channels, deaf to the new ones; shown: these are of the input, and last."""
    if shown:
        new = kernel.new_zeros(len(kernel), max(0, more - kernel.shape[1]), *kernel.shape[2:])
        return torch.cat([kernel, new], dim=1)
    of, first = _copied(kernel.shape[1], more)
    return kernel[:, of] * first.view(1, -1, *[1] * (kernel.ndim - 2))
