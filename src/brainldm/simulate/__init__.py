"""Heads with known truth."""
