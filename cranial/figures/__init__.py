"""Pictures of skulls and of what was learnt about them: Volumes and arrays in, a matplotlib Figure out.

render    how does a mask look from here? (ray casting, shaded)
solids    what do skulls, defects and proposals look like in 3-D?
sections  and in section?
compared  where do proposal and truth differ?
learning  what does the network see, and how did its training go?
style     what do all figures share?

Nothing is computed here that is not drawing.
"""

from .compared import comparison, score_chart
from .learning import training_cases, training_curves
from .render import COLOURS, VIEWS, build_scene, camera, render
from .sections import slices
from .solids import cases, facing, population, proposals, views
from .style import Figure

__all__ = [
    "COLOURS",
    "VIEWS",
    "Figure",
    "build_scene",
    "camera",
    "cases",
    "comparison",
    "facing",
    "population",
    "proposals",
    "render",
    "score_chart",
    "slices",
    "training_cases",
    "training_curves",
    "views",
]
