"""Is a set of synthetic cases varied, does it cover the real ones, has its generator merely memorised? By question:

sets        all of it at once, of a synthetic set beside the training and the held-out cases
facts       what is this case like? volumes, contact, pieces, thickness
neighbours  who is near whom? nearest case, diversity, coverage and density
words       in how few bytes do cases compare exactly?
"""

from .facts import Facts, contact, facts, thickness_mm
from .neighbours import NearestCase, diversity, expected_coverage
from .sets import COPY_DICE, SetQuality, assess
from .words import MEASURES, CasePool

__all__ = [
    "COPY_DICE",
    "MEASURES",
    "CasePool",
    "Facts",
    "NearestCase",
    "SetQuality",
    "assess",
    "contact",
    "diversity",
    "expected_coverage",
    "facts",
    "thickness_mm",
]
