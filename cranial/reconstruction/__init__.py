"""From a defective skull to what is missing. A map, by question:

grid       how is every head seen alike? (the cube of the network, laid on the head's mid-plane)
predict    what is missing in this skull? (preprocess -> network, mirror or atlas -> postprocess)
answer     how does what a network says become a mask on the case's grid?
model      what does a weights file hold? (the network, how it is asked, and one that looks closer)
proposals  how sure is it? (several reconstructions of one case, their vote, where they disagree)
atlas      what does an average skull, bent onto this one, have that is missing?
  atlas_making  how is it made?
suggestions  what do the other side and the atlas, bent onto this skull, show a network that asks?
sharpening   where is a surface, if the other side says it more sharply than the network?
counterpart  what has the other side that is missing here, though nobody proposed it?
closer       what does a second network see from near? (half the voxel size, around the first one's answer)
  closer_cases  what does it learn from?
box          which part of the cube must be computed? (that around the bone)
familiar   is this head like those the network learnt from?
cases      what does the network learn from? (warped, cut and spoiled skulls, on the fly)
suggested  what does a network learn from that is shown suggestions? (cases made once, moved at every draw)
bent       what do few real heads look like in the shapes of others?
dry        what does a head look like without jaw and neck?
thin_walls   and with the thin walls of the inner face that a scan of a living head loses?
learner    what is it taught? (loss, turns)
recipe     how was a model made? (a YAML, and the skulls that it names)
  training   and which call trains it? (it resumes, and ends with a weights file)
  grown      how does a larger network go on from a smaller one's weights?
mix        what does a network learn from given cases, real or synthetic, and geometric augmentation?
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Model, load_model
    from .predict import METHODS, Reconstruction, reconstruct
    from .proposals import Proposals, propose

__all__ = ["METHODS", "Model", "Proposals", "Reconstruction", "load_model", "propose", "reconstruct"]


def __getattr__(name: str) -> Any:  # so that whoever only lays grids does not wait for torch
    if name in __all__:
        from . import model, predict, proposals

        return next(getattr(part, name) for part in (model, predict, proposals) if hasattr(part, name))
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
