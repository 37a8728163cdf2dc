"""The left-right symmetry of a head: its mid-plane, and a reconstruction by mirroring across it."""

from cranial.symmetry.midplane import Midplane, find_midplane
from cranial.symmetry.mirror import mirror_defect

__all__ = ["Midplane", "find_midplane", "mirror_defect"]
