"""A great many volumes: a table in, a BIDS data set out, on one machine or many, resumable."""
