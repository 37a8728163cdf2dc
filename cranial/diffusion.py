"""Noise and how to take it away: the schedule of DDPM (Ho et al. 2020), the sampler of DDIM (Song et al. 2021).

Latents are never clipped: those of an autoencoder have no bounds. (MONAI's schedulers clip to [-1, 1] unless told
otherwise; and its DDIM steps by T // n between times that lie (T - 1) / (n - 1) apart, so that the noise it takes away
is not the noise it has. Here each step goes to the very next of the times it visits.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """How much is left of a latent at each of `times` times: alphas_bar, falling, float64 (times,).

    beta grows from first to last as the square of a line (Rombach et al. 2022: "scaled linear").
    """

    times: int = 1000
    first: float = 0.0015
    last: float = 0.0195

    def __post_init__(self) -> None:
        if type(self.times) is not int or self.times < 1:
            raise ValueError(f"times is {self.times!r}; give an integer of at least 1, such as 1000")
        if not 0 < self.first <= self.last < 1:
            raise ValueError(f"betas go from {self.first} to {self.last}; give 0 < first <= last < 1")

    @property
    def alphas_bar(self) -> Tensor:
        """prod(1 - beta), float64 (times,)."""
        roots = torch.linspace(self.first**0.5, self.last**0.5, self.times, dtype=torch.float64)
        return torch.cumprod(1 - roots.square(), 0)

    def noisy(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """sqrt(alpha_bar) latents + sqrt(1 - alpha_bar) noise; latents (B, ...), time (B,) integer."""
        kept = self.alphas_bar.to(latents.device)[time].to(latents.dtype)
        kept = kept.reshape(-1, *[1] * (latents.ndim - 1))
        return kept.sqrt() * latents + (1 - kept).sqrt() * noise

    def visited(self, steps: int, *, share: float = 1.0) -> list[int]:
        """The times that a sampler of so many steps visits, evenly, from the last of the first `share` of them."""
        last = round(share * self.times)
        if type(steps) is not int or not 1 <= steps <= last:
            raise ValueError(f"steps is {steps!r}; give 1 to {last}, the times the denoiser was trained for")
        return [round(last * (steps - k) / steps) - 1 for k in range(steps)]


def ddim(
    predict: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    schedule: Schedule,
    *,
    steps: int,
    lead: Callable[[Tensor], Tensor] | None = None,
    begin: tuple[Tensor, float] | None = None,
) -> Tensor:
    """Noise (B, ...) -> latents, deterministic (eta = 0); predict(latents, time (B,)) says which noise is in them.

    lead: moves what each step takes for the clean latents towards what is known of them. begin: latents to start from
    instead of from noise alone, and at which share of the times: they are noised as those of that time are (SDEdit,
    Meng et al. 2022).
    """
    alphas = schedule.alphas_bar.tolist()
    first, share = begin or (None, 1.0)
    times = schedule.visited(steps, share=share)
    latents = noise
    if first is not None:
        latents = schedule.noisy(first, noise, torch.full((len(noise),), times[0], device=noise.device))
    for time, after in zip(times, [*times[1:], None], strict=True):
        now, then = alphas[time], 1.0 if after is None else alphas[after]
        found = predict(latents, torch.full((len(latents),), time, device=latents.device))
        clean = (latents - (1 - now) ** 0.5 * found) / now**0.5
        if lead is not None:
            clean = lead(clean)
        latents = then**0.5 * clean + (1 - then) ** 0.5 * found
    return latents
