"""Kubernetes quantities ("1Gi", "500m") as numbers. Pure.

Source: Kubernetes `apimachinery/pkg/api/resource`: decimal and binary suffixes, or an exponent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

_QUANTITY: Final = re.compile(
    r"([0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})([eE][-+]?[0-9]{1,2}|[KMGTPE]i|[mkMGTPE])?", re.ASCII
)
_DECIMAL: Final[dict[str, int | Decimal]] = {
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
}
_BINARY: Final[dict[str, int]] = {
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "Ei": 2**60,
}
_AMOUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount as written and as a number (bytes, or CPU cores)."""

    text: str
    amount: Decimal

    def __str__(self) -> str:
        return self.text


def parse_quantity(text: str) -> Quantity | str:
    """The quantity, or what is wrong with the text in words."""
    found = _QUANTITY.fullmatch(text)
    if not found:
        if text.startswith("-"):
            return f"{text} is negative"
        if text[-1:] in {"b", "B"} and _QUANTITY.fullmatch(text[:-1]):
            return f"{text} is not a quantity; write {text[:-1]}i or {text[:-1]} without the B"
        return f"{text[:40]!r} is not a quantity; write for example 500m, 10G or 1.5Gi"
    number, suffix = found.groups()
    amount = Decimal(number)
    if suffix in _BINARY:
        amount *= _BINARY[suffix]
    elif suffix in _DECIMAL:
        amount *= _DECIMAL[suffix]
    elif suffix:
        amount = amount.scaleb(int(suffix[1:]))
    if amount <= 0:
        return f"{text} is nothing; it must be above 0"
    if amount > _AMOUNT_MAX:
        return f"{text} is more than {_AMOUNT_MAX} can count"
    return Quantity(text, amount)
