"""Cranial by hand: a napari plugin, in which each button calls one function of the package. A map, by question:

app        how does it open? (`cranial app`)
files      how do files become layers, and layers files?
samples    what is there to try it on?
layers     what is a Volume to napari, and a layer to us?
stage      how does the patient lie in the viewer?
work       how does a function run without napari standing still?
drivers    why does triton come before OpenGL?
docks      what can be asked?
  dock       what do all docks share? (fields, buttons, progress, cancel)
  choice     which layer is meant?
  defect, reconstruct, implant, measure, register, generate, browse, convert     one question each

A dock is a view: it reads its fields, calls one function in a thread, and shows what comes back. A new one is a
file in docks/ with a subclass of Dock, and its two lines in napari.yaml.

Qt and napari are imported here and nowhere else in the package.
"""
