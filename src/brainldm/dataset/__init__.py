"""People on disk: one reader and one writer of tables, sidecars and data sets."""
