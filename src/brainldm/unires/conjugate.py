"""Conjugate gradients with a diagonal preconditioner."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS, TOLERANCE = 4, 1e-3


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    right: Float[Tensor, "x y z"],
    start: Float[Tensor, "x y z"],
    diagonal: Float[Tensor, "x y z"],
    *,
    most: int = ITERATIONS,
    tolerance: float = TOLERANCE,
) -> int:
    """Solve A y = b for a symmetric positive A, in place.

    Args:
        apply: A.
        right: b.
        start: y to start from, which becomes the solution.
        diagonal: about A's own, all positive.
        most: iterations.
        tolerance: the norm of b - A y over that of b at which it ends.

    Returns:
        The number of iterations, at least 1.
    """
    rest = right - apply(start)
    enough = tolerance * float(torch.linalg.vector_norm(right))
    steep = rest / diagonal
    way = steep.clone()
    energy = torch.dot(rest.view(-1), steep.view(-1))
    for iteration in range(1, most + 1):
        seen = apply(way)
        step = energy / torch.dot(way.view(-1), seen.view(-1)).clamp(min=1e-30)
        start.add_(way * step)
        rest.sub_(seen.mul_(step))
        if float(torch.linalg.vector_norm(rest)) <= enough:
            return iteration
        torch.div(rest, diagonal, out=steep)
        after = torch.dot(rest.view(-1), steep.view(-1))
        way.mul_(after / energy).add_(steep)
        energy = after
    return most
