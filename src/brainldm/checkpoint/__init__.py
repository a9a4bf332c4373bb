"""Every known checkpoint format in; safetensors and `config.json` out.

`load_model` recognises by itself the published files, MONAI's names of the parameters, and
directories of brainldm; `convert` turns any of them into another.
"""

from brainldm.checkpoint.described import read_described, save_described
from brainldm.checkpoint.directory import (
    LoadedModel,
    convert,
    load_config,
    load_model,
    save_model,
)
from brainldm.checkpoint.fitting import load_into
from brainldm.checkpoint.names import to_current_names, to_old_names
from brainldm.checkpoint.reading import read_state_dict

__all__ = [
    "LoadedModel",
    "convert",
    "load_config",
    "load_into",
    "load_model",
    "read_described",
    "read_state_dict",
    "save_described",
    "save_model",
    "to_current_names",
    "to_old_names",
]
