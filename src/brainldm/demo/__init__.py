"""The demo model that ships: the recipe for training it, and its figures."""
