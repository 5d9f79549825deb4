"""How often the operations of a simulation fail in each window, in both arms."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tidegate_server.domain.policy import DAY
from tidegate_server.whatif.sampling import RandomGenerator
from tidegate_server.whatif.traffic_model import SimulationTime, TrafficModel


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """The shares of the operations that fail in a window.

    Attributes:
        control, treatment: of each arm, 0 to 1.
        excess: how much the treatment alone adds; what hits or moves both arms adds nothing.
    """

    control: float
    treatment: float
    excess: float


class RateSequence:
    """The error rates of one release's windows, with the outages and the wobble of its model.

    Args:
        model: how often operations fail.
        rng: draws the outages and the wobble.
    """

    def __init__(self, model: TrafficModel, rng: RandomGenerator) -> None:
        self._model = model
        self._rng = rng
        self._outage_until_ms = -1
        self._wobble = math.nan

    def draw(self, time: SimulationTime, interval_ms: int) -> ErrorRates:
        """Draw the rates of the next window; call it once for each window, in order."""
        model = self._model
        control = min(1.0, model.error_rate(time))
        treatment = min(1.0, control * model.error_ratio(time))
        excess = treatment - control
        if model.wobble is not None:
            treatment = min(1.0, treatment * self._next_wobble())
        if model.outages is not None and self._is_out(time, interval_ms):
            healthy = 1.0 - model.outages.error_rate
            control, treatment = 1.0 - (1.0 - control) * healthy, 1.0 - (1.0 - treatment) * healthy
            excess *= healthy
        return ErrorRates(control, treatment, excess)

    def _is_out(self, time: SimulationTime, interval_ms: int) -> bool:
        outages = self._model.outages
        assert outages is not None
        if time.at_ms <= self._outage_until_ms:
            return True
        if self._rng.random() >= -math.expm1(-outages.per_day * interval_ms / DAY):
            return False
        self._outage_until_ms = time.at_ms - interval_ms + outages.duration_ms
        return True

    def _next_wobble(self) -> float:
        """Return the next factor of the treatment's rate; its mean is 1."""
        wobble = self._model.wobble
        assert wobble is not None
        shock = self._rng.gauss(0.0, 1.0)
        if math.isnan(self._wobble):
            self._wobble = shock
        else:
            kept = math.exp(-1.0 / wobble.memory_windows) if wobble.memory_windows else 0.0
            self._wobble = kept * self._wobble + math.sqrt(1.0 - kept * kept) * shock
        size = wobble.size
        return math.exp(size * self._wobble - size * size / 2.0)
