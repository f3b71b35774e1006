"""The limits beyond which gradients, units and updates are called unhealthy."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from backlit.core.errors import ArgumentError


@dataclass(frozen=True)
class Bands:
    """Limits of health, each inclusive: what is beyond is in band 1 (amber) or 2 (red), all else in band 0.

    `amber` and `red` are powers of ten by which the gradient at a layer may be larger or smaller than at the last layer.
    `dead` is the fraction of units, `saturated` that of elements, that may take no part. `least_update` and `most_update`
    bound the size of an update over that of what it changes; beyond ten times that it is red.

    Raises:
      ArgumentError: a limit is negative or no number, or the limits of a pair are the wrong way round.
    """

    amber: float = 3.0
    red: float = 6.0
    dead: float = 0.0
    saturated: float = 0.3
    least_update: float = 1e-4
    most_update: float = 1e-2

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 <= limit < math.inf:
                raise ArgumentError(f"Bands: {name} is a number from 0 up, not {limit!r}")
        for low, high in (("amber", "red"), ("least_update", "most_update")):
            if getattr(self, low) > getattr(self, high):
                raise ArgumentError(f"Bands: {low}={getattr(self, low)} is above {high}={getattr(self, high)}")

    def limits(self) -> dict[str, float]:
        """The limits by name."""
        return asdict(self)

    def of_powers(self, powers: float) -> int:
        """The band of a layer whose gradient is so many powers of ten larger or smaller than the last layer's."""
        return 2 if powers > self.red else 1 if powers > self.amber else 0

    def of_unit(self, dead: float, saturated: float) -> int:
        """The band of an activation by its fractions, of which one may be NaN."""
        return 1 if dead > self.dead or saturated > self.saturated else 0

    def of_update(self, ratio: float) -> int:
        """The band of the size of an update over that of what it changes."""
        if self.least_update <= ratio <= self.most_update:
            return 0
        return 1 if self.least_update / 10 <= ratio <= self.most_update * 10 else 2
