"""Judging what the networks make."""
