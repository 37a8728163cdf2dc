"""Cranial: from a skull with a hole to the missing piece of bone. A map, by question:

volume          where is this voxel in the patient, and how do files say so?
volume_io       how does each file format say it? (NRRD, NIfTI, DICOM, meshes)
rng             where does all randomness come from?
config          is this YAML what the experiment expects?
skulls          which skulls, and which holes in them?
symmetry        what does the other side of the head suggest?
metrics         how near is a reconstruction to the truth?
nets            what maps a defective skull to a defect?
train           how does a learner learn?
checkpoint      how does a training stop and go on, to the bit?
reconstruction  what is missing in this skull?
notebook_run    what did this notebook say, with which parameters and versions?
cli             the same, from a terminal.

Nothing is imported here: `import cranial` is instant, `from cranial import volume` brings what it needs.
"""

__version__ = "0.1.0"
