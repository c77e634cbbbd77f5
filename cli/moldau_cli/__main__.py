"""Start of the `moldau` command. Kept free of imports: `moldau broker` must become the broker at once."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script."""
    if sys.argv[1:2] == ["broker"]:
        from moldau_cli.broker import become_broker

        become_broker(sys.argv[2:])
    from moldau_cli.root import root

    root(prog_name="moldau")


if __name__ == "__main__":
    main()
