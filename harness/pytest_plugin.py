"""pytest plugin: judge a run inside a test suite, with failures that say what was seen.

::

    def test_first_word(stt_run):
        run = stt_run("reports/runs/last")
        run.check("ttft_ms p95 <= 900 ms", "wer <= 0.08", "failed = 0")

    def test_no_slower(stt_run):
        run = stt_run(overrides=["chunking=1word", "engine=scripted"])
        run.check("ttft_ms p50 vs baseline: at most +5 % and +10 ms", baseline="main")

A rule that fails fails the test; one that is inconclusive or cannot be asked of the run, or a run
that is not valid, fails it too, unless ``undecided="skip"``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from harness.runs.folder import Run
    from harness.verdicts import Verdict

# Imports of the harness are inside functions: pytest loads plugins in every test run.


class CheckedRun:
    """A run that rules can be asked of."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def judge(
        self, *rules: str, confidence: float = 0.95, baseline: str | None = None,
        baselines: Path | None = None, allow: Sequence[str] = (),
    ) -> Verdict:  # fmt: skip
        """The verdict, as of `gate RUN`; raises nothing because of what it says.

        Args:
            rules: as in a gate.
            confidence: as in a gate.
            baseline: name of a saved one, for rules `vs baseline`.
            baselines: the folder it is in; None: the default one.
            allow: fields in which the baseline may differ.
        """
        from harness.config import GateConfig
        from harness.verdicts.baselines import FOLDER
        from harness.verdicts.judge import judge_runs, load_against, summarise_run

        summary = self.run.summary or summarise_run(self.run)
        gate = GateConfig(rules=list(rules), confidence=confidence, allow=list(allow))
        against = load_against(gate, self.run.environment, baseline, baselines or FOLDER)
        (verdict,) = judge_runs([self.run], [summary], gate, against)
        return verdict

    def check(
        self, *rules: str, confidence: float = 0.95, baseline: str | None = None,
        baselines: Path | None = None, allow: Sequence[str] = (),
        undecided: Literal["fail", "skip"] = "fail",
    ) -> None:  # fmt: skip
        """Fail the test unless every rule passes; see :meth:`judge`.

        Args:
            undecided: what becomes of the test when no rule fails and not every rule passes.
        """
        if not rules:
            pytest.fail("no rule was asked; such as `ttft_ms p95 <= 900 ms`", pytrace=False)
        with _told():
            verdict = self.judge(
                *rules, confidence=confidence, baseline=baseline, baselines=baselines, allow=allow
            )
        unmet = [rule for rule in verdict.rules if rule.status != "pass"]
        status = verdict.status if verdict.status not in ("pass", "none") else "not asked"
        lines = [f"{status.upper()}: {self.run.folder}"]
        for rule in unmet:
            told = rule.status if rule.status != "none" else "not asked"
            lines += [f"  {told.upper()}  {rule.rule}", f"    {rule.why}"]
            lines += [f"    next: {rule.next}"] if rule.next else []
        if verdict.status != "fail" and undecided == "skip" and unmet:
            pytest.skip("\n".join(lines))
        if unmet or verdict.status != "pass":
            pytest.fail("\n".join(lines), pytrace=False)


@contextmanager
def _told() -> Iterator[None]:
    """What the harness cannot do fails the test with its message, without our own frames."""
    from harness.errors import HarnessError

    try:
        yield
    except HarnessError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def stt_run(tmp_path: Path) -> Callable[..., CheckedRun]:
    """Load the run in a folder, or make one: ``stt_run(FOLDER)``, ``stt_run(overrides=[...])``."""
    numbers = itertools.count(1)

    def get(folder: str | Path | None = None, *, overrides: Sequence[str] = ()) -> CheckedRun:
        from harness.runs.folder import load_run

        if folder is None:
            from harness.__main__ import main

            folder = tmp_path / f"stt_run{next(numbers)}"
            code = main(["run", "report.plots=false", f"hydra.run.dir={folder}", *overrides])
            if code in (1, 2):
                pytest.fail(f"the run ended with exit code {code}", pytrace=False)
        with _told():
            return CheckedRun(load_run(Path(folder)))

    return get
