"""What a network's output says about the latent x0 and the noise epsilon in z.

All follow from z = alpha x0 + sigma epsilon and alpha^2 + sigma^2 = 1.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from brainldm.errors import UsageError
from brainldm.sampling.schedules import NoiseLevel

Prediction = Callable[[Tensor, Tensor, NoiseLevel], tuple[Tensor, Tensor]]
"""(output, z, level of noise in z) -> (x0, epsilon), all tensors (B, C, X, Y, Z)."""


def from_epsilon(
    output: Float[Tensor, "*latent"], z: Float[Tensor, "*latent"], level: NoiseLevel
) -> tuple[Float[Tensor, "*latent"], Float[Tensor, "*latent"]]:
    """The output is epsilon (Ho et al. 2020, 2006.11239, eq. 15)."""
    return (z - level.sigma * output) / level.alpha, output


def from_v(
    output: Float[Tensor, "*latent"], z: Float[Tensor, "*latent"], level: NoiseLevel
) -> tuple[Float[Tensor, "*latent"], Float[Tensor, "*latent"]]:
    """The output is v = alpha epsilon - sigma x0 (Salimans and Ho 2022, 2202.00512, app. D)."""
    return level.alpha * z - level.sigma * output, level.alpha * output + level.sigma * z


def from_x0(
    output: Float[Tensor, "*latent"], z: Float[Tensor, "*latent"], level: NoiseLevel
) -> tuple[Float[Tensor, "*latent"], Float[Tensor, "*latent"]]:
    """The output is x0."""
    return output, (z - level.alpha * output) / level.sigma


def from_flow(
    output: Float[Tensor, "*latent"], z: Float[Tensor, "*latent"], level: NoiseLevel
) -> tuple[Float[Tensor, "*latent"], Float[Tensor, "*latent"]]:
    """The output is epsilon - x0, the velocity of a straight path (Liu et al. 2022, 2209.03003).

    z / (alpha + sigma) lies on that path, sigma / (alpha + sigma) of the way to the noise.
    """
    length = level.alpha + level.sigma
    return (z - level.sigma * output) / length, (z + level.alpha * output) / length


PREDICTIONS: dict[str, Prediction] = {
    "epsilon": from_epsilon,
    "v": from_v,
    "x0": from_x0,
    "flow": from_flow,
}


def pick_prediction(name: str) -> Prediction:
    """The prediction of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PREDICTIONS:
        raise UsageError(
            f"Unknown prediction {name!r}: expected one of {', '.join(PREDICTIONS)}, "
            "whichever the model was trained for."
        )
    return PREDICTIONS[name]
