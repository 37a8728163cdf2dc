"""One iteration of deformable registration: loss, gradient and update in one pass over the field.

    with Team() as team:
        descent = descend(moving, fixed, field, weights, Rates((0.1, 0.1, 0.1)), team)
        mse, roughness = descent.step()
"""

from torch import Tensor

from ..threads import Team
from .reference import Descent as ReferenceDescent
from .reference import Rates

__all__ = ["Rates", "descend"]


def descend(
    moving: Tensor, fixed: Tensor, field: Tensor, weights: Tensor, rates: Rates, team: Team
) -> ReferenceDescent:
    """The fastest Descent for the device that the tensors are on; see reference.Descent.

    moving, fixed: (I, J, K). field: (3, I, J, K), displacement in voxels to begin with; it is not changed.
    weights: (3, 3), what the mean squared difference of component c along axis a costs. team: threads, on a CPU.
    Raises ValueError where shapes, types or devices do not fit each other.
    """
    if moving.shape != fixed.shape or field.shape != (3, *fixed.shape) or weights.shape != (3, 3):
        raise ValueError(
            f"moving has shape {tuple(moving.shape)}, fixed {tuple(fixed.shape)}, field {tuple(field.shape)} and "
            f"weights {tuple(weights.shape)}; give (I, J, K) twice, (3, I, J, K) and (3, 3)"
        )
    if not moving.dtype == fixed.dtype == field.dtype or not field.dtype.is_floating_point:
        raise ValueError(
            f"moving is {moving.dtype}, fixed {fixed.dtype} and field {field.dtype}; give one type, float32 or float64"
        )
    if not moving.device == fixed.device == field.device:
        raise ValueError(
            f"moving is on {moving.device}, fixed on {fixed.device}, field on {field.device}; bring them to one device"
        )
    if field.device.type == "cuda":
        from .gpu import Descent

        return Descent(moving, fixed, field, weights, rates)
    if field.device.type == "cpu":
        from .cpu import Descent

        return Descent(moving, fixed, field, weights, rates, team)
    return ReferenceDescent(moving, fixed, field.clone(), weights, rates)
