"""The two networks: `autoencoder` and `unet`, built from `layers`.

Parameters bear the names of MONAI >= 1.4's `AutoencoderKL` and `DiffusionModelUNet`, so that
weights pass between the two without a mapping.
"""
