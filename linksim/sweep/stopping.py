"""As many trials as an interval of a given half-width needs, by Stein's two-stage procedure.

The images are given; what is random is the channel. A trial's value is the mean of the metric over
all images, and trials are independent. A first stage of n0 of them gives the standard deviation s;
the point then gets

    N = max(n0, ceil((t * s / halfwidth)^2)) trials, t the 97.5 % quantile of Student's t, n0 - 1
    degrees of freedom,

and mean ± t*s/sqrt(N) covers the truth with 95 % exactly for Gaussian values, since N looks at s
and s is independent of the mean (C. Stein, Annals of Mathematical Statistics 16, 1945). Looking at
the interval after every trial and stopping at the first narrow one would not: it stops when s
happens to be small. The mean over some images is Gaussian enough; a single image that is lost in a
fifth of its fades wants a min_trials of 20 or more (10 were seen to cover 90 %).

N is each point's own, whatever the other codecs need, so that points stay independent tasks;
:mod:`linksim.results.compare` pairs the trials that two codecs share.
"""

import math
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from linksim.metrics.table import MetricName, find_metric
from linksim.settings import Settings

MAX_TRIALS = 1_000_000
"""More than anybody waits for."""

_TWO_SIDED = 0.975


class Until(Settings):
    """Trials until the 95 % interval of a metric's mean over the channel is narrow enough.

    halfwidth: in the metric's unit. min_trials: the first stage, which tells how many are needed.
    max_trials: never more, even if the interval stays wider.
    """

    metric: MetricName
    halfwidth: float = Field(gt=0, allow_inf_nan=False)
    min_trials: int = Field(default=10, ge=2)
    max_trials: int = Field(le=MAX_TRIALS)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_trials < self.min_trials:
            raise ValueError(
                f"max_trials ({self.max_trials}) is below min_trials ({self.min_trials})"
            )
        return self

    @property
    def column(self) -> str:
        """The metric's column in rows."""
        return find_metric(self.metric).name

    def trials_needed(self, first: NDArray[np.float64]) -> int:
        """N for the values [min_trials] of the first stage; no more than these where one of them is
        no number, since no number of trials makes a number of their mean."""
        needed = (self._spread(first) / self.halfwidth) ** 2
        if math.isnan(needed):
            return self.min_trials
        return max(self.min_trials, math.ceil(min(needed, self.max_trials)))

    def reached(self, values: NDArray[np.float64]) -> float:
        """The half-width that all trials' values [N] came to, the first stage being the first."""
        return self._spread(values) / math.sqrt(len(values))

    def _spread(self, values: NDArray[np.float64]) -> float:
        from scipy.special import stdtrit

        first = values[: self.min_trials]
        return float(stdtrit(len(first) - 1, _TWO_SIDED) * first.std(ddof=1))


def trial_means(rows: pd.DataFrame, metric: str) -> NDArray[np.float64]:
    """The metric's mean over all images in each trial of one point, in order of trials; NaN where
    an image has no finite value."""
    finite = rows[metric].where(np.isfinite(rows[metric]))
    return finite.groupby(rows["trial"], sort=True).mean(skipna=False).to_numpy(np.float64)
