"""``python -m harness VERB ...``"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from harness.cli.shown import kept_going


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit code (see ``harness.cli``)."""
    with kept_going():
        try:
            from harness.cli import run_verb

            return run_verb(list(sys.argv[1:] if argv is None else argv))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)  # noqa: T201 the answer
            return 4


if __name__ == "__main__":
    sys.exit(main())
