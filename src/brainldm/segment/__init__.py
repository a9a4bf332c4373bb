"""From an image to labels and millilitres."""
