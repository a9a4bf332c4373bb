"""UniRes: many scans of a person, thick slices of any contrasts, to sharp volumes.

files -> scans -> registered to each other -> solved for through their projections -> volumes
"""

from brainldm.unires.projection import Projection
from brainldm.unires.scan import Scan
from brainldm.unires.solve import Solution, solve

__all__ = ["Projection", "Scan", "Solution", "solve"]
