"""Intervals of means and of proportions over rows, and a paired test of two methods.

Rows have few distinct values, so resampling draws the count of each distinct value, which has the same distribution.
"""

import math
from dataclasses import dataclass

import numpy as np

Z_95 = 1.959964


def bootstrap_intervals(
    values: np.ndarray, generator: np.random.Generator, resamples: int = 1000, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Computes percentile bootstrap intervals of means over rows (Efron, 1979).

    Args:
        values (`np.ndarray`): Shape `(num_rows, num_figures)`; a row is drawn with all its figures.
        generator (`np.random.Generator`): Random generator of the resampling.
        resamples (`int`, defaults to 1000): Number of resamples.
        confidence (`float`, defaults to 0.95): Share of the means inside the interval.

    Returns:
        Lower and upper ends, each of shape `(num_figures,)`.

    Raises:
        ValueError: If there is no row, or `resamples` is below 1.

    >>> low, high = bootstrap_intervals(np.eye(2).repeat(50, axis=0), np.random.default_rng(0))
    >>> low.round(2).tolist(), high.round(2).tolist()
    ([0.4, 0.4], [0.6, 0.6])
    """
    means = resampled_means(values, generator, resamples)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def wilson_interval(mean: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """Confidence interval of a share (Wilson, 1927).

    Args:
        mean (`float`): The share, or a mean of values from 0 to 1.
        count (`int`): Number of values.
        z (`float`): Standard deviations of the normal distribution; 95 % by default.

    Raises:
        ValueError: If the count is below 1.

    >>> [round(end, 3) for end in wilson_interval(0.5, 10)]
    [0.237, 0.763]
    """
    if count < 1:
        raise ValueError(f"a share of {count} has no interval; give at least one.")
    center = (mean + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(mean * (1 - mean) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, center - half), min(1.0, center + half)


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two methods on the same rows.

    Attributes:
        difference (`float`): Mean of the first minus mean of the second.
        interval (`tuple[float, float]`): Bootstrap interval of the difference.
        p_value (`float`): Two-sided: share of random swaps of the two values of each row that give a difference at
            least as large.
        num_rows, num_changed (`int`): Number of rows, and of rows on which the methods differ.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    num_rows: int
    num_changed: int


def paired_test(
    first: np.ndarray,
    second: np.ndarray,
    generator: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> PairedTest:
    """Computes a paired randomization test (Fisher, 1935; Smucker et al., 2007, for rankings) and a paired bootstrap.

    Args:
        first, second (`np.ndarray`): One value per row, shape `(num_rows,)`, the same rows in the same order.
        generator (`np.random.Generator`): Random generator of the resampling.
        resamples (`int`, defaults to 10000): Draws; the smallest p-value is `1 / (resamples + 1)`.
        confidence (`float`, defaults to 0.95): Confidence level of the interval.

    Raises:
        ValueError: If the shapes differ, there is no row, or `resamples` is below 1.

    >>> ten, none = np.ones(10), np.zeros(10)
    >>> result = paired_test(ten, none, np.random.default_rng(0))
    >>> result.difference, result.p_value < 0.01  # 2 of 1024 ways to swap give a difference of 1 or -1
    (1.0, True)
    >>> paired_test(ten, ten, np.random.default_rng(0)).p_value
    1.0
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"one value per row of the same rows is needed, got the shapes {first.shape}, {second.shape}."
        )
    differences = first.astype(np.float64) - second.astype(np.float64)
    low, high = bootstrap_intervals(differences[:, None], generator, resamples, confidence)
    # A sum of c values +d or -d is d * (2 * heads - c).
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    heads = generator.binomial(counts, 0.5, size=(resamples, len(counts)))
    swapped = np.abs((2 * heads - counts) @ sizes)
    observed = abs(differences.sum())
    as_large = swapped >= observed - 1e-9 * max(1.0, observed)  # equal sums may differ in their last bits
    return PairedTest(
        difference=float(differences.mean()),
        interval=(float(low[0]), float(high[0])),
        p_value=float((1 + as_large.sum()) / (1 + resamples)),
        num_rows=len(differences),
        num_changed=int(counts.sum()),
    )


def resampled_means(values: np.ndarray, generator: np.random.Generator, resamples: int) -> np.ndarray:
    """Means over rows drawn with replacement.

    Args:
        values, generator, resamples: As in [`bootstrap_intervals`].

    Returns:
        `np.ndarray`: Shape `(resamples, num_figures)`.

    Raises:
        ValueError: If there is no row, or `resamples` is below 1.
    """
    num_rows = len(values)
    if num_rows == 0:
        raise ValueError("there are 0 rows; give at least one.")
    if resamples < 1:
        raise ValueError(f"resamples ({resamples}) must be at least 1.")
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    drawn = generator.multinomial(num_rows, counts / num_rows, size=resamples)
    return drawn @ distinct / num_rows
