"""The MNI152 template, and the way there."""
