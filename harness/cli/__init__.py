"""The command line: verbs, and the exit code that each ends with.

Exit codes: 0 pass (or nothing to judge), 1 crash, 2 usage or configuration error, 3 a gate failed,
4 invalid, inconclusive or no baseline.

Only this room imports Hydra (``compose``); a verb's module is imported when it is called, so that
``report`` needs neither Hydra nor torch.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from importlib import import_module

import harness
from harness.cli import own_configs
from harness.errors import HarnessError

Verb = Callable[[list[str]], int]

# verb -> what it does; the module in this room has the same name
VERBS: dict[str, str] = {
    "run": "one arm: replay recorded audio, measure, summarise, judge",
    "compare": "two or more arms, interleaved in one comparison",
    "rechunk": "apply other chunking strategies to a run's recorded tokens",
    "gate": "judge a finished run again, offline, or against a baseline",
    "baseline": "keep named reference runs: save, list, show",
    "report": "make tables and plots again from saved runs, without a model",
    "manifest": "make a manifest from a folder of recordings and their texts",
    "align": "add word timings, speech onset and end to a manifest",
    "calibrate": "this machine's noise, the smallest effect it shows, and a proof",
    "capacity": "the largest number of concurrent streams that meets objectives",
    "serve": "an engine as a realtime server, with a page to try it in a browser",
    "export": "a run's figures for pytest-benchmark, github-action-benchmark, Bencher",
    "doctor": "what this machine can run, and why not",
}

USAGE = """\
Latency benchmarking and regression testing for streaming speech-to-text.

usage: python -m harness VERB [options or overrides]

{verbs}

A first run takes about four minutes, needs no GPU and no account:
  python -m harness run chunking=1word
Is one word at a time faster than six for the person who waits?
  python -m harness compare chunking=1word,6word
What can be chosen, and what each verb takes:
  python -m harness run --help
Is something missing on this machine?
  python -m harness doctor
"""


def usage() -> str:
    width = max(map(len, VERBS)) + 2
    return USAGE.format(verbs="\n".join(f"  {v:<{width}}{what}" for v, what in VERBS.items()))


def run_verb(argv: list[str]) -> int:
    """Run the verb that ``argv`` begins with; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage(), end="")  # noqa: T201 the answer
        return 0
    if argv[0] in ("--version", "-V"):
        print(f"harness {harness.__version__}")  # noqa: T201 the answer
        return 0
    name, *rest = argv
    if name not in VERBS:
        return _complain(_no_such_verb(name))
    verb: Verb = getattr(import_module(f"harness.cli.{name}"), name)
    try:
        with own_configs.taken_from(rest) as others:
            return verb(others)
    except HarnessError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain(f"interrupted: {name} was not finished")
        return 4


def _no_such_verb(name: str) -> str:
    close = difflib.get_close_matches(name, VERBS, n=1)
    if "=" in name:
        hint = f"a verb comes first: python -m harness run {name}"
    elif close:
        hint = f"did you mean {close[0]}?"
    else:
        hint = "python -m harness --help"
    return f"no such verb: {name!r}\n  allowed: {', '.join(VERBS)}\n  next:    {hint}"


def _complain(text: str) -> int:
    print(f"error: {text}", file=sys.stderr)  # noqa: T201 the answer
    return 2
