"""``python -m harness VERB ...``"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit code (see ``harness.cli``)."""
    from harness.cli import run_verb

    return run_verb(list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
