"""Whether a network takes the time that was said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ppeconv.benchmark.inference import InferenceSpeed
from ppeconv.benchmark.networks import Network
from ppeconv.choosing.advice import Option, fastest
from ppeconv.choosing.advise import Advice
from ppeconv.choosing.candidates import PLAIN
from ppeconv.choosing.sittings import Sitting, together
from ppeconv.errors import UserError


@dataclass(frozen=True)
class Checked:
    """A latency that was predicted, and the one that was measured anew; ratios are to the plain network's."""

    predicted_ms: float
    measured_ms: float
    predicted_ratio: float
    measured_ratio: float

    @property
    def error(self) -> float:
        """How far the ratio is off, as a part of the predicted one; in it the machine's own speed does not count."""
        return self.measured_ratio / self.predicted_ratio - 1

    def __str__(self) -> str:
        return (
            f"predicted {self.predicted_ms:.3g} ms, {self.predicted_ratio:.3f} of the plain network's; exported and "
            f"measured anew {self.measured_ms:.3g} ms, {self.measured_ratio:.3f}: {self.error:+.1%}, and "
            f"{self.measured_ms / self.predicted_ms - 1:+.1%} in milliseconds"
        )


def check(advice: Advice, measure: Callable[[Sequence[Network]], list[InferenceSpeed]] | None = None) -> Checked:
    """What was chosen, built and exported anew and measured beside the plain network, each on its fastest runtime.

    Args:
        advice: names it.
        measure: see `How.measure`, which it is when not given.
    """
    taken = advice.choice.taken
    plain = next(option for option in fastest(advice.options) if option.candidate == PLAIN)
    runtimes = tuple(dict.fromkeys([plain.runtime, taken.runtime]))
    networks = [advice.host.network(candidate) for candidate in dict.fromkeys([PLAIN, taken.candidate])]
    how = replace(advice.how, runtimes=runtimes)
    sitting = Sitting("now", how.rounds, (measure or how.measure)(networks))
    rows = [row for _, row in together([sitting])]
    now, base = _median(rows, taken), _median(rows, plain)
    return Checked(taken.latency_ms or 0.0, now, taken.ratio or 0.0, now / base)


def _median(rows: Sequence[InferenceSpeed], option: Option) -> float:
    place = str(option.candidate), option.runtime
    row = next(row for row in rows if (row.network, row.runtime) == place)
    if row.median_ms is None:
        raise UserError(f"{option.candidate} ran before and does not now: {row.reason}")
    return row.median_ms
