"""The tests; a package, so that this `tests` is imported and not one that a library installed."""
