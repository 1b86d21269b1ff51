"""Means with their standard errors."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `count` cases; the standard error treats the cases of one group as one.

    The standard error is None for a single group and for a largest value.
    """

    value: float
    standard_error: float | None
    count: float

    @classmethod
    def of(cls, groups: Iterable[tuple[float, float]]) -> "Estimate":
        """The mean of groups (sum, number of cases); groups are the units of sampling."""
        groups = [group for group in groups if group[1]]
        cases = sum(n for _, n in groups)
        if not cases:
            return cls(0.0, None, 0)
        mean = sum(total for total, _ in groups) / cases
        spread = sum((total - mean * n) ** 2 for total, n in groups)
        return cls(mean, sqrt(spread) / cases if len(groups) > 1 else None, cases)

    @classmethod
    def largest(cls, values: Iterable[float]) -> "Estimate":
        """The largest of `values`."""
        values = list(values)
        return cls(max(values, default=0.0), None, len(values))

    def __format__(self, digits: str) -> str:
        if not self.count:
            return "-"
        value = format(self.value, digits)
        if self.standard_error is None:
            return value
        return f"{value} ±{format(self.standard_error, digits)}"

    def __str__(self) -> str:
        return format(self, ".2f")

    def to_dict(self) -> dict[str, float | None]:
        """A JSON-able form."""
        return {"value": self.value, "se": self.standard_error, "n": self.count}
