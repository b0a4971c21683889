"""Muon: momentum whose matrices are orthogonalised before they are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

# Newton-Schulz coefficients of Keller Jordan's Muon:
# https://kellerjordan.github.io/posts/muon
A, B, C = 3.4445, -4.7750, 2.0315
N_ITERATIONS = 5


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """Return the nearest semi-orthogonal matrices, roughly.

    Shapes: matrix and result [..., rows, columns].
    """
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for matrices, and for stacks of them such as the experts'."""

    def __init__(
        self, weights: Iterable[torch.nn.Parameter], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Apply one update."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(momentum, group["momentum"])
                rows, columns = weight.shape[-2:]
                scale = max(1.0, rows / columns) ** 0.5
                weight.add_(orthogonalise(update), alpha=-group["lr"] * scale)
