"""What a weights file of a reconstruction holds: the network, how it wants to be asked, and one that looks closer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..nets.residual_unet import ResidualUNet

SHIPPED = Path(__file__).resolve().parent.parent / "weights" / "reconstruction.safetensors"
_CLOSER = "closer."  # before the names of the second network's weights


@dataclass(frozen=True)
class Model:
    """A trained network and how it wants to be asked: side of the cube, what it is shown beside the skull."""

    network: "nn.Module"
    side: int
    symmetry: bool  # the flipped cube, as a second channel
    metadata: dict = field(repr=False)
    suggested: bool = False  # the mirrored skull and the atlas, bent onto the skull: see suggestions
    boxed: bool = False  # of the cube only the box around the bone: see box
    closer: "nn.Module | None" = None  # a second network, which looks at the first one's answer: see closer


def load_model(path: Path | str | None = None) -> Model:
    """The networks in a weights file, in bfloat16, as they are asked; None: those shipped with the package.

    Raises CheckpointError when the file is absent, damaged, or not of a reconstruction network.
    """
    import torch

    path = SHIPPED if path is None else Path(path)
    first, second, metadata = read_networks(path)
    first, second = (network and network.eval().to(torch.bfloat16) for network in (first, second))
    return Model(
        first, int(metadata["side"]), bool(metadata["symmetry"]), metadata, bool(metadata.get("suggested")),
        bool(metadata.get("boxed")), second,
    )  # fmt: skip


def read_networks(path: Path) -> "tuple[ResidualUNet, ResidualUNet | None, dict[str, Any]]":
    """(network, the one that looks closer if there is one, metadata) in float32; errors as of load_model."""
    from ..checkpoint import CheckpointError, load_weights

    weights, metadata = load_weights(path)
    if metadata.get("architecture") != "residual_unet":
        raise CheckpointError(
            f"{path} holds {metadata.get('architecture')!r}, not a reconstruction network; "
            "give a model.safetensors written by train_reconstruction"
        )
    near = {name.removeprefix(_CLOSER): weight for name, weight in weights.items() if name.startswith(_CLOSER)}
    first = {name: weight for name, weight in weights.items() if not name.startswith(_CLOSER)}
    closer = _network(metadata["closer"]["shape"], near, "closer", path) if "closer" in metadata else None
    return _network(metadata["shape"], first, "unet", path), closer, metadata


def save_closer(path: Path, closer: "nn.Module", described: Mapping[str, Any], *, first: Path) -> None:
    """A network that looks closer, with the one in the file `first` whose answers it looks at; in half precision."""
    from ..checkpoint import save_weights

    network, _, metadata = read_networks(first)
    network.closer = closer
    save_weights(path, network, metadata | {"closer": dict(described)}, storage="float16")


def _network(shape: Mapping[str, Any], weights: "Mapping[str, Tensor]", name: str, path: Path) -> "ResidualUNet":
    from ..checkpoint import load_into
    from ..nets.residual_unet import ResidualUNet, ResidualUNetShape

    network = ResidualUNet(ResidualUNetShape(**shape))
    load_into(network, weights, name=name, path=path)
    return network


def torch_device(name: str):
    """auto, cpu, cuda or cuda:N as torch has it. Raises ValueError for another, and for a GPU that is not there."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}; choose auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {name!r}, but torch sees no CUDA GPU; choose auto or cpu")
    return device
