"""What maps a defective skull to a defect, and numbers to skulls? Networks alone: no losses, no training.

blocks         what is every network made of, and what does one cost?
residual_unet  what is missing in this skull?
autoencoder    a case as a small volume of numbers, and back
gaussian       where do the embeddings lie that a decoder has seen?
critic         how real is this case?
quantizer      which code of a codebook is nearest?
masked_prior   which code comes next?
denoiser       which noise is in these latents?
"""
