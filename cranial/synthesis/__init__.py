"""Which synthetic cases does a network train on? A map, by question:

registered  what does one skull with its hole look like, bent onto another?
sources     which skulls are there to bend, and which holes are in them?
gates       is this case fit to learn from?

Sets are written into a `skulls.store.CaseStore`, by any number of processes at once. Nothing is imported here.
"""
