"""What the configuration of the MONAI bundle (`bundle/`) calls.

The bundle keeps the command line that was published with the model in the MONAI model zoo, whose
conditions are normalised: 0 to 1 is the range of the training data.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from brainldm.checkpoint import read_state_dict, to_current_names
from brainldm.conditions import Conditions
from brainldm.errors import BrainLDMError, UsageError
from brainldm.files import refuse_existing
from brainldm.image.volume import output_paths
from brainldm.pipeline.brain import BrainLDM
from brainldm.pipeline.choice import Model, Sampling
from brainldm.pipeline.request import match_requests, random_seed

WEIGHTS = {"autoencoder": "autoencoder.pt", "unet": "model.pt"}
"""The bundle's weights files, by the network that each holds."""


class Generator(nn.Module):
    """The bundle's network: normalised conditions to images.

    Args:
        model_dir: folder with `autoencoder.pt` and `model.pt`. With neither of them there, in
            a bundle with configs/metadata.json, the demo model is used, and stderr says so.
        load_old: 1 if the two files have the parameter names of GenerativeModels, as the published
            ones do; 0 if they have those of MONAI >= 1.4.
        device: a torch device, or "auto".
        steps: denoising steps (DDIM).

    Raises:
        UsageError: the files contradict `load_old`, or there is neither weights nor a bundle.
        ModelError: one file of the two is missing, or they do not load.
    """

    def __init__(
        self, model_dir: str | Path, *, load_old: int = 1, device: str = "auto", steps: int = 50
    ) -> None:
        super().__init__()
        self.pipeline = _load(_choice(Path(model_dir), device), bool(load_old))
        self.sampling = Sampling(sampler="ddim", steps=steps)

    def forward(self, conditions: Tensor) -> Tensor:
        """Generate one image for each row; the row's number is its seed.

        Args:
            conditions: (B, 4) in [0, 1]: gender, age, ventricular volume, brain volume.

        Returns:
            (B, 1, X, Y, Z) float32 in [0, 1], on the device of `conditions`.

        Raises:
            UsageError: a condition outside [0, 1], or steps that the schedule does not have.
        """
        people = [Conditions.from_normalised(*row) for row in conditions.tolist()]
        config, seeds = self.pipeline.config, range(len(people))
        requests = match_requests(config, people, seeds, sampling=self.sampling)
        volumes = self.pipeline.stream(requests, self.sampling)
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
        seed = random_seed()
    path = Path(output_dir) / (
        f"gender-{gender}_age-{age}_ventricular_vol-{ventricular_vol}_brain_vol-{brain_vol}"
        f"_seed-{seed}_T1w.nii.gz"
    )
    if not overwrite:
        refuse_existing(output_paths(path))  # before minutes of computing, not after
    person = Conditions.from_normalised(gender, age, ventricular_vol, brain_vol)
    sampling = Sampling(sampler="ddim", steps=steps, extrapolate=bool(extrapolate))
    choice = _choice(Path(model_dir), device)
    requests = match_requests(choice.config(), person, [seed], sampling=sampling)
    [volume] = _load(choice, bool(load_old)).stream(requests, sampling)
    return volume.save(path, overwrite=bool(overwrite))


def run(model_dir: str | Path, output_dir: str | Path, **options: Any) -> None:
    """Run `generate`: say where the file is, or what was wrong.

    Raises:
        BrainLDMError: as `generate`; it is also said on stderr, since MONAI raises an exception of
            its own from it, without its message.
        SystemExit: the same in `python -m monai.bundle`, with exit code 2 and without a traceback.
    """
    try:
        print(generate(model_dir, output_dir, **options))
    except BrainLDMError as error:
        print(f"Error: {error}", file=sys.stderr)
        if _is_command():
            raise SystemExit(2) from None
        raise


def _is_command() -> bool:
    """Whether the program is `python -m monai.bundle`, not one that calls MONAI."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name.split(".")[:2] == ["monai", "bundle"]


def _choice(model_dir: Path, device: str) -> Model:
    """The model in a folder; the demo model if a bundle has none, with a line that says so."""
    paths = [model_dir / name for name in WEIGHTS.values()]
    if any(path.exists() for path in paths):
        return Model(source=model_dir, device=device)
    bundle = model_dir.resolve().parent
    if not (bundle / "configs" / "metadata.json").exists():
        raise UsageError(
            f"There are no weights in {model_dir.resolve()}, and {bundle} is not a bundle: "
            "expected the bundle's folder. MONAI does not say where the bundle lies, so name it: "
            "--bundle_root DIR, ConfigWorkflow(..., bundle_root=DIR), or monai.bundle.load(..., "
            "net_override={'model_dir': DIR + '/models'}); or work in it."
        )
    print(
        f"{' and '.join(map(str, paths))} are not there: using the demo model, which knows only "
        "simulated heads. For the published model, put its weights there; `brainldm download` "
        "fetches them and says where they are.",
        file=sys.stderr,
    )
    return Model(device=device)


def _load(choice: Model, load_old: bool) -> BrainLDM:
    if isinstance(choice.source, Path):
        for network, name in WEIGHTS.items():
            path = choice.source / name
            if path.exists():  # if not, the loader says which one is missing
                _check_names(path, network, load_old)
    return BrainLDM.load(choice)


def _check_names(path: Path, network: str, load_old: bool) -> None:
    """Refuse weights whose parameter names are not those that `load_old` announces."""
    state = read_state_dict(path)
    is_old = to_current_names(state, network).keys() != state.keys()
    if is_old != load_old:
        names = "GenerativeModels" if is_old else "MONAI >= 1.4"
        expected = "GenerativeModels" if load_old else "MONAI >= 1.4"
        raise UsageError(
            f"{path} has the parameter names of {names}, but --load_old {int(load_old)} announces "
            f"those of {expected}. Run again with --load_old {int(is_old)}."
        )
