"""Which synthetic cases does a network train on? A map, by question:

registered      what does one skull with its hole look like, bent onto another?
generated       what does a trained generator make of its latents?
conditioned     what would it put into the hole of this skull?
latent_walk     what lies between its cases?
explorer        what is at this place among them, and is it worth keeping?
recipe          what does a generator's YAML say?
training        how does it become trained?
trained         how is it kept in a file?
learning_cases  what does it learn from?
phantom_cases   which phantoms are these?
prepared        or which cases of a dataset?
sources         which skulls are there to bend, and which holes are in them?
kinds           which kind of set does this YAML ask for?
gates           is this case fit to learn from?
filling         how is a set made by many at once?

Sets are written into a `skulls.store.CaseStore`, by any number of processes at once. Nothing is imported here.
"""
