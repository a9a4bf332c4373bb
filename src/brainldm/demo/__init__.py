"""The demo model that ships: how it is made, and its figures."""
