"""The help of the verbs that take overrides."""

from __future__ import annotations

from harness.cli import compose as hydra_side

HELP = """\
usage: python -m harness {verb} [GROUP=CHOICE ...] [FIELD=VALUE ...]

{what}

Groups and their choices (configs/):
{groups}

Fields, with what they are now:
{fields}
{ending}"""

MEASURING = """
--json prints the summary as JSON, --quiet prints nothing; the exit code is the verdict.
The folder is chosen with hydra.run.dir=FOLDER; `--cfg job` shows the config and does nothing.
"""


def asks_for_help(argv: list[str]) -> bool:
    return any(argument in ("-h", "--help") for argument in argv)


def print_help(verb: str, what: str, ending: str = MEASURING) -> int:
    groups = {name: hydra_side.choices_of(name) for name in hydra_side.groups()}
    lines = [f"  {name:<11}{', '.join(choices)}" for name, choices in groups.items()]
    text = HELP.format(
        verb=verb,
        what=what,
        groups="\n".join(lines),
        fields=hydra_side.describe_fields(),
        ending=ending,
    )
    print(text, end="")  # noqa: T201 the answer
    return 0
