"""What a run met: counted, so that a run that met nothing cannot pass as one that found nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


class Coverage:
    """Counters by name; a name is declared with the layer that counts it, so that a zero can be seen."""

    __slots__ = ("counts",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(names, 0))

    def hit(self, name: str, times: int = 1) -> None:
        """It happened."""
        self.counts[name] += times

    def __getitem__(self, name: str) -> int:
        return self.counts[name]

    def add(self, counts: Mapping[str, int]) -> None:
        """Sum another run's counters into these."""
        for name, count in counts.items():
            self.counts[name] += count

    @property
    def zeros(self) -> list[str]:
        """Declared and never met."""
        return sorted(name for name, count in self.counts.items() if count == 0)

    def table(self) -> str:
        """All counters, one a line."""
        return "\n".join(f"  {name:<34} {self.counts[name]:>12,}" for name in sorted(self.counts))
