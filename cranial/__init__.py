"""Cranial: from a skull with a hole to the missing piece of bone. A map, by question:

volume          where is this voxel in the patient, and what do the files say?
volume_io       how does each format say it? (NRRD, NIfTI, DICOM folders, meshes)
resampling      what is this mask on another grid?
interpolation   what lies between the voxels?
rng             where does all randomness come from?
config          is this YAML what the experiment expects?
skulls          which skulls, and which holes in them?
symmetry        where is the mid-plane, and what does the healthy side suggest?
surface         how far is one surface from another?
deviation       where on its surface does a piece deviate from another?
nearest         how far is this voxel from the nearest of those?
sphere          how do directions cover a sphere evenly, each known alone?
metrics         how near is a reconstruction to the truth?
statistics      is one method better than another?
kernels         which arithmetic decides how long everything takes?
nets            what maps a defective skull to a defect?
augment         what may happen to a case on its way to a learner?
registration    what brings one head onto another?
quality         is a set of synthetic cases varied, does it cover the real ones, is any of it memorised?
objectives      what do generators and reconstruction learn towards?
diffusion       how does noise come, and how does it go?
sampling        which latents does a generator turn into cases?
train           how does a learner learn?
checkpoint      how does a training stop, and go on to the bit?
generators      what makes a skull with a hole out of numbers?
reconstruction  what is missing in this skull?
synthesis       which synthetic cases does a network train on?
study           what does the whole study ask, and what did it find?
implant         what does a printer take, and does it go in?
figures         what does it look like, in 2-D and in 3-D?
widgets         how do I turn it and slice it by hand, in a notebook?
report          what was read and what was found, in words and numbers?
notebook_run    what did this notebook say, with which parameters and versions?
notebook_engine how is a notebook executed without waiting for ever?
plugin          how is all this done by hand, in napari?
cli             how is all this asked from a terminal?

Nothing is imported here: `import cranial` is instant, `from cranial import volume` brings what it needs.
"""

__version__ = "0.1.0"
