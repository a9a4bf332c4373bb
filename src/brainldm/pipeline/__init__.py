"""A model that runs."""
