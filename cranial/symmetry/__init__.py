"""The left-right symmetry of a head: its mid-plane, and a reconstruction by mirroring across it. A map, by question:

midplane  where is the mid-plane?
bone      what of a file is the head's main bone?
head      how does a head stand before a mirror?
mirror    what does the healthy side suggest?
holes     what of a suggested complete head is missing in this one?
"""

from cranial.symmetry.midplane import Midplane, find_midplane
from cranial.symmetry.mirror import mirror_defect

__all__ = ["Midplane", "find_midplane", "mirror_defect"]
