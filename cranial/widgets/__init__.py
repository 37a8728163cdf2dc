"""Skulls to turn and to slice by hand in a notebook. Without a browser the widgets are made all the same.

look       one head: turned, cut open, its layers ticked on and off, and in section beside it
turn       a head under any choices: sliders move, and the surfaces change in place
solid      how are surfaces shown and replaced? (k3d)
sections   and voxels in section? (NiiVue)
explore    any picture under any choices

They need the extra `lab`; nothing is fetched from the net.
"""

from .explore import explore
from .look import look
from .sections import sections
from .solid import redraw, save_page, show
from .turn import turn

__all__ = ["explore", "look", "redraw", "save_page", "sections", "show", "turn"]
