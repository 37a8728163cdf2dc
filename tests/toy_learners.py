"""Two small learners for the tests of the training loop, and a script that trains one of them.

python toy_learners.py FOLDER STEPS {"json": "arguments of train"} SIGNAL RANK INDEX
trains the adversaries, is interrupted by a signal to one process while it makes batch INDEX, trains on, and
prints from each process a digest of everything it has learned.
"""

import hashlib
import json
import os
import signal
import sys

import torch
from torch import nn

from cranial.train import TrainingInterrupted, train

SIDE = 6


def heads(index: int) -> dict[str, torch.Tensor]:
    """Two small solid heads (2, 1, SIDE, SIDE, SIDE) and the same with a hole."""
    rng = torch.Generator().manual_seed(index)
    complete = (torch.rand(2, 1, SIDE, SIDE, SIDE, generator=rng) < 0.7).float()
    defective = complete.clone()
    defective[..., : SIDE // 2] = 0
    return {"complete": complete, "defective": defective}


class Inpainter:
    """One player: fills the hole. Batch norm, dropout, noise and a schedule make a resume hard."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(0.2), nn.Conv3d(4, 1, 1)
        )

    @property
    def players(self):
        return {"net": self.net}

    def optimizers(self):
        return {"net": torch.optim.AdamW(self.net.parameters(), 1.0)}

    def learning_rate(self, step):
        return 1e-2 / (1 + step)

    def turns(self, step):
        yield "net", self.loss

    def loss(self, batch, rng):
        noise = torch.randn(batch["defective"].shape, generator=rng)
        filled = self.net(batch["defective"] + 0.1 * noise)
        return (filled - batch["complete"]).square().mean(), {"filled": filled.mean()}

    def validate(self, step):
        batch = heads(10_000)
        return {"error": float((self.net(batch["defective"]) - batch["complete"]).square().mean())}


class Adversaries:
    """Two players, WGAN-GP: two critic turns, one of the generator; a frozen module besides; batch norm."""

    def __init__(self):
        torch.manual_seed(int(os.environ.get("LOCAL_RANK", 0)))  # process 0's weights must win
        self.generator = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Conv3d(4, 1, 1))
        self.critic = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv3d(4, 1, 1))
        self.scale = nn.BatchNorm3d(1, affine=False, momentum=0.5)

    @property
    def players(self):
        return {"critic": self.critic, "generator": self.generator}

    def state_modules(self):
        return {"scale": self.scale}

    def optimizers(self):
        return {name: torch.optim.Adam(p.parameters(), 1e-2, (0.0, 0.9)) for name, p in self.players.items()}

    def learning_rate(self, step):
        return {"critic": 2e-2, "generator": 1e-2}

    def turns(self, step):
        yield "critic", self.critic_loss
        yield "critic", self.critic_loss
        yield "generator", self.generator_loss

    def fake(self, batch, rng):
        return self.generator(torch.randn(batch["complete"].shape, generator=rng))

    def critic_loss(self, batch, rng):
        self.scale(batch["complete"])  # keeps statistics
        real, fake = batch["complete"], self.fake(batch, rng).detach()
        share = torch.rand(real.shape[0], 1, 1, 1, 1, generator=rng)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return self.critic(fake).mean() - self.critic(real).mean() + 10 * penalty, {"penalty": penalty}

    def generator_loss(self, batch, rng):
        return -self.critic(self.fake(batch, rng)).mean(), {}

    def validate(self, step):
        return {"error": float(self.generator(heads(10_000)["complete"]).square().mean())}


ARGUMENTS = {
    "seed": 3,
    "accelerator": "cpu",
    "ema_decay": 0.9,
    "log_every": 2,
    "validate_every": 3,
    "target": "error",
    "goal": "lowest",
    "progress": False,
}


def digest(learner) -> str:
    """Everything the learner has learned, in 64 digits."""
    modules = [*learner.players.values(), *getattr(learner, "state_modules", dict)().values()]
    tensors = [t for module in modules for t in module.state_dict().values()]
    return hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()


def main(folder: str, steps: str, arguments: str, name: str, rank: str, at: str) -> None:
    def batches(index: int) -> dict[str, torch.Tensor]:
        if not stopped and index == int(at) and os.environ.get("LOCAL_RANK", "0") == rank:
            os.kill(os.getpid(), getattr(signal, name))
        return heads(index)

    stopped: list[str] = []
    for _ in range(2):
        learner = Adversaries()
        try:
            train(learner, batches, steps=int(steps), folder=folder, **ARGUMENTS | json.loads(arguments))
        except TrainingInterrupted as stop:
            stopped.append(str(stop))
            print(f"interrupted {stop}", flush=True)
    print(f"digest {digest(learner)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
