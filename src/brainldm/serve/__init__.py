"""A page to work in, and the same over HTTP: jobs for one model, and what they made."""
