"""Heads to train on: a simulated cohort derived from the MNI152 template."""
