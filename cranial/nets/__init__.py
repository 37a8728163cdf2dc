"""Networks alone: blocks, residual UNet. No losses, no data, nothing of training."""
