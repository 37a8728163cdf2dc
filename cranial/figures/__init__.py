"""Pictures of skulls and of what was learnt about them: Volumes and arrays in, a matplotlib Figure out.

render       how does a mask look from here? (ray casting, shaded)
solids       what do skulls, defects and proposals look like in 3-D?
sections     and in section?
deformation  what does a displacement field do to a skull?
compared     where do proposal and truth differ?
disagreement where do proposals differ from each other?
abreast      what is proposed for several cases, with or without a truth?
learning     what does the network see, and how did its training go?
latents      where do a generator's latents lie?
sets         how does a set of synthetic cases compare with the real ones?
study        what did the whole study find, method by method?
style        what do all figures share?

Nothing is computed here that is not drawing.
"""

from .abreast import abreast
from .compared import comparison, difference, score_chart
from .deformation import bent, descent_curves, field_maps, trade_off
from .disagreement import disagreement, symmetric_differences
from .latents import lengths_and_distances, plane
from .learning import loss_panels, training_cases, training_comparison, training_curves
from .render import COLOURS, VIEWS, build_scene, camera, lay_out, render, rgb
from .sections import bounds_mm, middle_mm, slices
from .sets import fact_distributions, nearest_dice
from .solids import cases, facing, population, proposals, variants, views
from .study import cost_by_part, dice_against_cases, methods_compared
from .style import NAMES, PAPER, Figure

__all__ = [
    "COLOURS",
    "NAMES",
    "PAPER",
    "VIEWS",
    "Figure",
    "abreast",
    "bent",
    "bounds_mm",
    "build_scene",
    "camera",
    "cases",
    "comparison",
    "cost_by_part",
    "descent_curves",
    "dice_against_cases",
    "difference",
    "disagreement",
    "facing",
    "fact_distributions",
    "field_maps",
    "lay_out",
    "lengths_and_distances",
    "loss_panels",
    "methods_compared",
    "middle_mm",
    "nearest_dice",
    "plane",
    "population",
    "proposals",
    "render",
    "rgb",
    "score_chart",
    "slices",
    "symmetric_differences",
    "trade_off",
    "training_cases",
    "training_comparison",
    "training_curves",
    "variants",
    "views",
]
