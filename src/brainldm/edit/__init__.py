"""Editing real scans: what would this head look like, older, or without a lesion.

scan -> its place in MNI152 space -> latent -> the noise that gives it back
     -> the same noise under other conditions -> what the model changed -> the scan itself, changed
"""
