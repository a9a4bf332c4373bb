"""What the configuration of the MONAI bundle (`bundle/`) calls.

The bundle keeps the command line that was published with the model in the MONAI model zoo, whose
conditions are normalised: 0 to 1 is the range of the training data.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainldm.checkpoint import read_state_dict, to_current_names
from brainldm.conditions import Conditions
from brainldm.errors import BrainLDMError
from brainldm.files import refuse_existing
from brainldm.image.volume import output_paths
from brainldm.pipeline.brain import BrainLDM

WEIGHTS = {"autoencoder": "autoencoder.pt", "unet": "model.pt"}
"""The bundle's weights files, by the network that each holds."""


class Generator(nn.Module):
    """The bundle's network: normalised conditions to images.

    Args:
        model_dir: folder with `autoencoder.pt` and `model.pt`. With neither of them there, the demo
            model is used and a line on stderr says so.
        load_old: 1 if the two files have the parameter names of GenerativeModels, as the published
            ones do; 0 if they have those of MONAI >= 1.4.
        device: a torch device, or "auto".
        steps: denoising steps (DDIM).

    Raises:
        BrainLDMError: one file of the two is missing, they contradict `load_old`, or they do not
            load.
    """

    def __init__(
        self, model_dir: str | Path, *, load_old: int = 1, device: str = "auto", steps: int = 50
    ) -> None:
        super().__init__()
        self.pipeline = _load(Path(model_dir), bool(load_old), device)
        self.steps = steps

    def forward(self, conditions: Tensor) -> Tensor:
        """Generate one image for each row; the row's number is its seed.

        Args:
            conditions: (B, 4) in [0, 1]: gender, age, ventricular volume, brain volume.

        Returns:
            (B, 1, X, Y, Z) float32 in [0, 1], on the device of `conditions`.

        Raises:
            BrainLDMError: a condition outside [0, 1], or steps that the schedule does not have.
        """
        people = [Conditions.from_normalised(*row) for row in conditions.tolist()]
        volumes = self.pipeline.generate(
            people, range(len(people)), steps=self.steps, sampler="ddim"
        )
        images = torch.stack([torch.from_numpy(volume.array) for volume in volumes])
        return images[:, None].to(conditions.device)


def generate(
    model_dir: str | Path,
    output_dir: str | Path,
    *,
    gender: float,
    age: float,
    ventricular_vol: float,
    brain_vol: float,
    extrapolate: int = 0,
    seed: int | None = None,
    steps: int = 50,
    load_old: int = 1,
    device: str = "auto",
    overwrite: int = 0,
) -> Path:
    """Generate one head and save it, with its sidecar, in `output_dir`.

    Args:
        model_dir: as in `Generator`, and so are `load_old`, `device` and `steps`.
        output_dir: folder for the result, made if it is missing.
        gender: 0 female, 1 male.
        age: 0 to 1 over the model's range.
        ventricular_vol: ventricular cerebrospinal fluid, 0 to 1 over the model's range.
        brain_vol: brain volume normalised for head size, 0 to 1 over the model's range.
        extrapolate: 1 to allow conditions outside [0, 1].
        seed: of the noise; None draws one, which the file name and the sidecar tell.
        overwrite: 1 to replace a file of the same name.

    Returns:
        The path of the NIfTI file.

    Raises:
        BrainLDMError: weights, conditions, seed or steps are wrong, or the file exists.
    """
    if seed is None:
        seed = secrets.randbelow(2**31)
    path = Path(output_dir) / (
        f"gender-{gender}_age-{age}_ventricular_vol-{ventricular_vol}_brain_vol-{brain_vol}"
        f"_seed-{seed}_T1w.nii.gz"
    )
    if not overwrite:
        refuse_existing(output_paths(path))  # before minutes of computing, not after
    person = Conditions.from_normalised(gender, age, ventricular_vol, brain_vol)
    pipeline = _load(Path(model_dir), bool(load_old), device)
    [volume] = pipeline.generate(
        person, [seed], steps=steps, sampler="ddim", extrapolate=bool(extrapolate)
    )
    return volume.save(path, overwrite=bool(overwrite))


def run(model_dir: str | Path, output_dir: str | Path, **options: Any) -> None:
    """Run `generate` as a command: say where the file is, or what was wrong, with exit code 2.

    Raises:
        SystemExit: for a user's mistake; MONAI buries an exception's message in its traceback.
    """
    try:
        print(generate(model_dir, output_dir, **options))
    except BrainLDMError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _load(model_dir: Path, load_old: bool, device: str) -> BrainLDM:
    paths = {network: model_dir / name for network, name in WEIGHTS.items()}
    if not any(path.exists() for path in paths.values()):
        print(
            f"{' and '.join(map(str, paths.values()))} are not there: using the demo model, which "
            "knows only simulated heads. For the published model, put its weights there; "
            "`brainldm download` fetches them and says where they are.",
            file=sys.stderr,
        )
        return BrainLDM.from_pretrained("demo", device=device)
    for network, path in paths.items():
        if path.exists():  # if not, the loader says which one is missing
            _check_names(path, network, load_old)
    return BrainLDM.from_pretrained(model_dir, device=device)


def _check_names(path: Path, network: str, load_old: bool) -> None:
    """Refuse weights whose parameter names are not those that `load_old` announces."""
    state = read_state_dict(path)
    is_old = to_current_names(state, network).keys() != state.keys()
    if is_old != load_old:
        names = "GenerativeModels" if is_old else "MONAI >= 1.4"
        expected = "GenerativeModels" if load_old else "MONAI >= 1.4"
        raise BrainLDMError(
            f"{path} has the parameter names of {names}, but --load_old {int(load_old)} announces "
            f"those of {expected}. Run again with --load_old {int(is_old)}."
        )
