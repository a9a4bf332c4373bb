"""Voxels in millimetres: grids, volumes, how they are fitted, looked at and shown."""
