"""The arithmetic that decides how long everything takes, each kernel three times: plain torch, CPU, GPU.

descent    one iteration of deformable registration: loss, gradient and update in one pass
warp       several channels through one displacement field
geometry   flips, crop, affine and speckle composed into one resample of labels
threads    which thread works on which planes?

In each folder `reference` is plain torch, the specification; `cpu` (numba) and `gpu` (triton) must agree with it.
The folder itself offers the function that picks by the device of its tensors. Nothing is imported here.
"""
