"""What brings one head onto another? Affine, then instance optimisation of a displacement field.

pair        heads in, Registration out: field, loss curves, quality, problems; and parts of a head carried along
view        what a scan shows of a head, and where: cube, soft occupancy, where it ended
affine      the rough fit: any pose, twelve numbers
deformable  the fine fit: a displacement a voxel, stiff by alpha
fields      composed, inverted, and checked for folds
"""

from .deformable import Level, RegistrationError
from .pair import ALPHA, Quality, Registration, register
from .view import Cube

__all__ = ["ALPHA", "Cube", "Level", "Quality", "Registration", "RegistrationError", "register"]
