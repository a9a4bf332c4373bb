"""From a folder of scans to a data set to train on.

scans -> rigid registration to MNI152 -> one resampling -> [0, 1] -> BIDS derivative
table -> units checked; what is missing is measured           -> participants.tsv
"""

from brainldm.prepare.run import Summary, prepare

__all__ = ["Summary", "prepare"]
