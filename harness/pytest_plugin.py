"""pytest plugin: judge a run inside a test suite, with failures that say what was seen.

::

    def test_first_word(stt_run):
        run = stt_run("reports/runs/last")
        run.check("ttft_ms p95 <= 900 ms", "wer <= 0.08", "failed = 0")

    def test_no_slower(stt_run):
        run = stt_run(overrides=["chunking=1word", "engine=scripted"])
        run.check("ttft_ms p50 vs baseline: at most +5 % and +10 ms", baseline="main")

    def test_gate_of_the_team(stt_run):
        stt_run("reports/runs/last").check(gate="ci/stt_gate.yaml")

A rule that fails makes the test fail. So does one that is inconclusive or does not apply to the
run, and a run that is not valid, unless ``undecided="skip"``.

Imports of the harness are inside functions: pytest loads plugins in every test run, also in
projects that have a package of their own called ``harness``; only a test that asks for ``stt_run``
needs ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from harness.api import Run
    from harness.config import GateConfig
    from harness.runs.records import Verdict


class CheckedRun:
    """A run that can be judged by rules."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def judge(self, *rules: str, gate: str | Path | None = None, **how: Any) -> Verdict:
        """The verdict, as of ``gate RUN``; raises nothing because of what it says.

        Args:
            rules: as in a gate.
            gate: a gate file (YAML) in place of rules.
            how: ``baseline``, ``baselines``, ``allow``, ``confidence`` of ``harness.Run.judge``.
        """
        if gate is None:
            return self.run.judge(*rules, **how)
        if rules:
            pytest.fail("name rules or a gate file, not both", pytrace=False)
        return self.run.judge(gate=_gate_file(Path(gate)), **how)

    def check(
        self,
        *rules: str,
        gate: str | Path | None = None,
        undecided: Literal["fail", "skip"] = "fail",
        **how: Any,
    ) -> None:
        """Fail the test unless every rule passes; see :meth:`judge`.

        Args:
            undecided: what becomes of the test when no rule fails and not every rule passes.
        """
        if not rules and gate is None:
            pytest.fail(
                "no rule was given; write one such as `ttft_ms p95 <= 900 ms`", pytrace=False
            )
        with _errors_fail_the_test():
            verdict = self.judge(*rules, gate=gate, **how)
        unmet = [rule for rule in verdict.rules if rule.status != "pass"]
        status = verdict.status if verdict.status not in ("pass", "none") else "not asked"
        lines = [f"{status.upper()}: {self.run.folder}"]
        for rule in unmet:
            shown = rule.status if rule.status != "none" else "not asked"
            lines += [f"  {shown.upper()}  {rule.rule}", f"    {rule.why}"]
            lines += [f"    next: {rule.next}"] if rule.next else []
        if verdict.status != "fail" and undecided == "skip" and unmet:
            pytest.skip("\n".join(lines))
        if unmet or verdict.status != "pass":
            pytest.fail("\n".join(lines), pytrace=False)


def _gate_file(path: Path) -> GateConfig:
    """A gate as in ``configs/gate``: name, rules, confidence, ...

    Raises:
        ConfigError: it cannot be read, or a field is none of a gate's.
    """
    from dataclasses import fields

    import yaml

    from harness.cli.typed_text import load_yaml, text_fields
    from harness.config import GateConfig
    from harness.errors import ConfigError

    try:
        content, known = path.read_text(encoding="utf-8"), text_fields([("", GateConfig)])
        found = load_yaml(content, yaml.SafeLoader, "", known)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"the gate file cannot be read: {error}", value=str(path)) from error
    allowed = [field.name for field in fields(GateConfig)]
    if not isinstance(found, dict) or not set(found) <= set(allowed):
        raise ConfigError(
            "a gate file holds the fields of a gate and no others", value=str(path),
            allowed=", ".join(allowed), hint="configs/gate/example.yaml has every form of rule",
        )  # fmt: skip
    return GateConfig(**found)


def _require_ours() -> None:
    """Say so when another package called ``harness`` is found first."""
    import harness

    if not hasattr(harness, "load_run"):
        pytest.fail(
            f"another package called harness is found before streaming-stt-harness:"
            f" {harness.__file__ or harness.__path__}; run pytest with --import-mode=importlib, or"
            " rename that package",
            pytrace=False,
        )


@contextmanager
def _errors_fail_the_test() -> Iterator[None]:
    """What the harness cannot do fails the test with its message, without our own frames."""
    from harness.errors import HarnessError

    try:
        yield
    except HarnessError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def stt_run(tmp_path: Path) -> Callable[..., CheckedRun]:
    """Load the run in a folder, or make one: ``stt_run(FOLDER)``, ``stt_run(overrides=[...])``."""
    _require_ours()
    numbers = itertools.count(1)

    def get(folder: str | Path | None = None, *, overrides: Sequence[str] = ()) -> CheckedRun:
        from harness.api import load_run

        if folder is None:
            from harness.__main__ import main

            folder = tmp_path / f"stt_run{next(numbers)}"
            code = main(["run", "report.plots=false", f"hydra.run.dir={folder}", *overrides])
            if code in (1, 2):
                pytest.fail(f"the run ended with exit code {code}", pytrace=False)
        with _errors_fail_the_test():
            return CheckedRun(load_run(folder))

    return get
