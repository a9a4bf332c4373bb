"""Training the two networks: stage 1, the autoencoder; stage 2, the diffusion of its latents."""
