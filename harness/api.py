"""The Python API: measure, compare, load and judge without the command line.

Nothing here prints, exits, reads ``sys.argv`` or sets up logging: it may be called from a notebook,
a test or a service. What a call measures is kept in a run's folder, as by the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from harness.clock import wall_time
from harness.config import Config, GateConfig
from harness.engines import Engine
from harness.engines.python import GivenFactory
from harness.engines.setting import NoModel
from harness.errors import ConfigError, UsageError
from harness.experiments.plan import ArmPlan
from harness.experiments.progress import Progress
from harness.experiments.run import run_arms
from harness.runs import folder as runs_folder
from harness.runs.folder import load_run as _load_run
from harness.runs.names import inside, safe_name
from harness.runs.records import Verdict
from harness.runs.summarise import summarise_run
from harness.verdicts.baselines import FOLDER as BASELINES
from harness.verdicts.judge import judge_runs, load_against

RUNS = Path("reports/runs")  # where a run's folder is made that is given no other


class Run(runs_folder.Run, frozen=True):
    """A finished run: its folder, config, environment, traces, clips and summary."""

    def judge(
        self,
        *rules: str,
        gate: GateConfig | None = None,
        baseline: str | None = None,
        baselines: Path = BASELINES,
        allow: Sequence[str] = (),
        confidence: float = 0.95,
    ) -> Verdict:
        """Judge the run by rules, as the verb ``gate`` does; writes nothing.

        ::

            run.judge("ttft_ms p95 <= 900 ms", "wer <= 0.08").status  # pass, fail, ...
            run.judge("ttft_ms p50 vs baseline: at most +5 % and +10 ms", baseline="main")

        Args:
            rules: in the grammar of gates (``configs/gate/example.yaml`` has every form).
            gate: in place of ``rules``, ``allow`` and ``confidence``.
            baseline: the name of a saved baseline, for rules ``vs baseline``.
            baselines: the folder that baselines are saved in.
            allow: fields of the environment in which the baseline may differ.
            confidence: of every PASS and FAIL, over all rules together.

        Raises:
            ConfigError: a rule that cannot be parsed, or no rule at all.
            BaselineError: no such baseline, or one that may not be compared with.
        """
        if gate is not None and not isinstance(gate, GateConfig):
            raise UsageError(
                "gate is no harness.GateConfig",
                value=gate,
                hint='harness.GateConfig(rules=[...]), or rules: run.judge("failed = 0")',
            )
        if gate is None:
            gate = GateConfig(rules=list(rules), allow=list(allow), confidence=confidence)
        if not gate.rules:
            raise ConfigError(
                "no rule to judge by", allowed='one or more, such as "ttft_ms p95 <= 900 ms"'
            )
        against = load_against(gate, self.environment, baseline, baselines)
        (verdict,) = judge_runs([self], [self.summary or summarise_run(self)], gate, against)
        return verdict


def run(
    config: Config | None = None,
    *,
    engine: Callable[..., Engine] | None = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Replay a dataset through one configuration, measure, summarise, judge.

    Args:
        config: what to run; None: the main job (Whisper tiny.en on the packaged recordings).
        engine: a class or function that is called with ``world`` and ``options`` and returns an
            engine of your own, in place of ``config.engine``.
        folder: where the run is kept; None: a new folder in ``reports/runs``.
        progress: receives the progress of the run; None: no progress is reported.
        options: keywords for ``engine``.

    Raises:
        UsageError, ConfigError: something in the config does not exist; before anything is timed.
        StorageError: the folder could not be written; finished sessions stay on disk.
    """
    config = Config() if config is None else config
    _require_config(config)
    if engine is not None:
        if not callable(engine):
            raise UsageError(
                "engine is neither a class nor a function",
                value=engine,
                hint="an engine by name is a field: harness.Config(engine=...)",
            )
        config = replace(config, engine=GivenFactory.of(engine, options), model=NoModel())
    elif options:
        raise ConfigError("options without an engine", value=", ".join(options))
    (done,) = _measure([config], ["run"], _folder(folder, config), progress, alone=True)
    return done


def compare(
    *configs: Config,
    names: Sequence[str] = (),
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[Run, ...]:
    """Replay through two or more configurations, interleaved; the first is the reference.

    Args:
        configs: which may differ in anything but dataset, seed and most of ``replay``.
        names: of the arms, in order; empty: what their chunking is called.
        folder: where the arms' folders are made; None: a new folder in ``reports/runs``.
        progress: as in :func:`run`.

    Raises:
        As :func:`run`; UsageError also for fewer than two configurations or names that are equal.
    """
    for config in configs:
        _require_config(config)
    names = list(names) or [config.chunking.name for config in configs]
    if len(configs) < 2 or len(names) != len(configs) or len(set(names)) < len(names):
        raise UsageError(
            "compare needs two configurations or more, each with a different name",
            value=", ".join(names) or "none",
            hint="harness.compare(old, new, names=['old', 'new'])",
        )
    return tuple(_measure(configs, names, _folder(folder, configs[0]), progress))


def load_run(folder: str | Path) -> Run:
    """Read a run's folder, finished or not.

    Raises:
        UsageError: there is no run in this folder.
        StorageError: a file in it cannot be read or is not what it should be.
    """
    found = _load_run(Path(folder))
    if found.summary is None:
        found = msgspec.structs.replace(found, summary=summarise_run(found))
    return Run(**{name: getattr(found, name) for name in found.__struct_fields__})


def _measure(
    configs: Sequence[Config],
    names: Sequence[str],
    folder: Path,
    progress: Progress | None,
    *,
    alone: bool = False,
) -> list[Run]:
    plans = [
        ArmPlan(
            name=config.chunking.name if alone else name,
            config=config,
            folder=folder if alone else inside(folder, name, "an arm"),
        )
        for name, config in zip(names, configs, strict=True)
    ]
    if progress is not None and not isinstance(progress, Progress):
        raise UsageError(
            "progress is no harness.Progress",
            value=progress,
            hint="derive a class from harness.Progress, hand over an object of it",
        )
    run_arms(plans, progress or Progress())
    return [load_run(plan.folder) for plan in plans]


def _require_config(config: object) -> None:
    """A ``Config`` whose groups are option objects; from Python anything may arrive."""
    if not isinstance(config, Config):
        raise UsageError(
            "this is no harness.Config",
            value=config,
            hint="harness.run(harness.Config(chunking=harness.Words(1)))",
        )
    for group in fields(Config):
        value, default = getattr(config, group.name), getattr(Config(), group.name)
        if is_dataclass(default) and (isinstance(value, type) or not is_dataclass(value)):
            raise ConfigError(
                f"config field {group.name}",
                value=value,
                allowed=f"an object with options, such as {type(default).__name__}()",
            )


def _folder(given: str | Path | None, config: Config) -> Path:
    if given is not None:
        return Path(given)
    return RUNS / f"{wall_time():%Y%m%d-%H%M%S-%f}-{safe_name(config.chunking.name)}"
