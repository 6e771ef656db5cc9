"""A task whose module imports something heavy."""

import numpy as np

from jobs import job


@job
def mean() -> float:
    """Of a few numbers."""
    return float(np.arange(10).mean())
