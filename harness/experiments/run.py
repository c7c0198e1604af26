"""From configs to finished runs: clips x repeats x arms, interleaved, replayed, summarised, judged.

:func:`replay_arms` is the list of steps; each arm gets a run folder of its own.
"""

from __future__ import annotations

import logging
import random
import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields

import msgspec

from harness.addresses import port_here
from harness.clock import World
from harness.config import Config
from harness.datasets.load import Clip
from harness.engines import Engine
from harness.errors import ConfigError, UsageError
from harness.events import SessionKind, Trace
from harness.experiments.plan import ArmPlan
from harness.experiments.progress import Progress, Tally
from harness.experiments.recording import ArmRecorder
from harness.experiments.rig import Rig
from harness.machine.gpu import GpuSampler
from harness.machine.host import HostSample, HostSampler
from harness.replay import Planned, ReplayArm, arrivals_ns, replay
from harness.runs.folder import refuse_used
from harness.runs.records import Summary
from harness.runs.summarise import summarise_run
from harness.session import Pacing
from harness.verdicts.gates import check_arm, check_references
from harness.verdicts.judge import (
    CONFIRM,
    BaselineReference,
    finish_arms,
    judge_runs,
    load_against,
    to_be_confirmed,
)
from harness.verdicts.rules import parse_rules
from harness.verdicts.sequential import SequentialPlan

log = logging.getLogger("harness")


def run_arms(plans: Sequence[ArmPlan], progress: Progress) -> list[Summary]:
    """Replay all arms, interleaved in one comparison; returns their summaries, in order.

    Raises:
        UsageError: something in the config does not exist; before anything is timed.
        StorageError: a folder could not be written; what was written before is kept.
    """
    _check_arms(plans)
    with closing(Rig(plans[0].config, progress)) as rig:
        return replay_arms(plans, rig)


def replay_arms(plans: Sequence[ArmPlan], rig: Rig) -> list[Summary]:
    """One comparison: every arm is replayed, interleaved, summarised and judged."""
    for plan in plans:
        rig.engine(plan.config)  # what cannot be loaded leaves no folder behind
        if plan.config.endpointer.at_client:
            plan.config.endpointer.make()
        rig.heard(plan.config)
    recorders = _make_recorders(plans, rig)
    arms = [{"name": r.plan.name, **msgspec.structs.asdict(r.environment.arm)} for r in recorders]
    for plan in plans:
        check_arm(plan.config.gate, arms)
    against = _load_against(recorders)  # nor does a baseline that cannot be compared with
    again: list[ArmRecorder] = []
    writers = [recorder.writer for recorder in recorders]
    try:
        rig.progress.stage("Replaying")
        with _gpu_watched(rig.world, recorders):
            _replay_all(rig, recorders, against)
        again = _open_again(recorders, rig)
        if again:
            rig.progress.stage("A regression was seen: measuring all of it once more")
            with _gpu_watched(rig.world, again):
                _replay_all(rig, again, None)
    except KeyboardInterrupt:
        log.warning("interrupted: the sessions that have ended are kept")
    finally:
        for recorder in [*recorders, *again]:
            recorder.writer.close()
    rig.progress.stage("Summarising")
    return finish_arms(writers, against, [recorder.writer for recorder in again])


# --- steps, in the order in which they are called -------------------------------------------------


def _check_arms(plans: Sequence[ArmPlan]) -> None:
    """Folders are free, rules name arms that are there, arms differ only in what is compared."""
    if len(plans) > 1:
        refuse_used(plans[0].folder.parent)
    for plan in plans:
        refuse_used(plan.folder)
        gate = plan.config.gate
        check_references(gate, [other.name for other in plans])
        _check_gate(plan)
    first = plans[0].config
    shares = [plan.config.inject.tail_share for plan in plans if plan.config.inject.tail_share != 1]
    if shares and not any(plan.config.inject.worse for plan in plans):
        raise ConfigError(
            "config field inject.tail_share",
            value=shares[0],
            allowed="1, unless inject.delay_ms, inject.scale or inject.drop_words is given",
        )
    if len(plans) > 1 and first.gate.baseline is not None:
        raise UsageError(
            "a comparison is judged against its first arm, not against a baseline",
            value=first.gate.baseline,
            hint="leave gate.baseline out, or `run` one arm against it",
        )
    for plan in plans[1:]:
        for field in ("dataset", "seed"):
            if getattr(plan.config, field) != getattr(first, field):
                raise ConfigError(
                    f"arms of one comparison must share {field}",
                    value=plan.name,
                    hint="run them apart; arms are paired clip by clip",
                )
        for name in (f.name for f in fields(first.replay)):
            if name in ("frame_ms", "timeout_s"):
                continue  # of the arm; all else is of the comparison
            if getattr(plan.config.replay, name) != getattr(first.replay, name):
                raise ConfigError(
                    f"arms of one comparison must share replay.{name}",
                    value=plan.name,
                    hint="run them apart",
                )


def _check_gate(plan: ArmPlan) -> None:
    """A gate that was chosen must have rules."""
    gate = plan.config.gate
    if not gate.rules and _asks_for_a_gate(plan.overrides):
        raise ConfigError(
            "the chosen gate has no rules",
            value=gate.name,
            allowed="one or more rules",
            hint="configs/gate/example.yaml has every form of rule; gate=none asks for none",
        )
    if not parse_rules(gate.rules) and plan.config.replay.until == "decided":
        raise ConfigError(
            "replay.until=decided, and no gate to decide",
            value=f"gate={gate.name}",
            hint="add gate=ci, or leave replay.until out",
        )


def _asks_for_a_gate(overrides: Sequence[str]) -> bool:
    """A gate file was chosen, and its rules were not replaced by hand."""
    named = [o for o in overrides if o.startswith("gate=") and o != "gate=none"]
    return bool(named) and not any(o.startswith("gate.rules=") for o in overrides)


def _make_arm(config: Config, engine: Engine) -> ReplayArm:
    return ReplayArm(
        engine=engine,
        make_chunker=config.chunking.chunker,
        pacing=Pacing(
            frame_ms=config.replay.frame_ms,
            kind=SessionKind(config.session.kind),
            timeout_s=config.replay.timeout_s,
            flood=config.replay.pace == "flood",
            late_ms=config.inject.driver_late_ms,
            endpointer=config.endpointer,
            tail_s=config.replay.tail_s,
            network=config.conditions.network,
        ),
    )


def _load_against(recorders: Sequence[ArmRecorder]) -> BaselineReference | None:
    """The stored baseline, for an arm that is alone; refused before anything is timed."""
    if len(recorders) > 1:
        return None
    return load_against(recorders[0].plan.config.gate, recorders[0].environment)


@contextmanager
def _gpu_watched(world: World, recorders: Sequence[ArmRecorder]) -> Iterator[None]:
    """Sample the GPUs during the measurement; each arm stores the samples of its own."""
    devices = {r.engine.info.device for r in recorders}
    samplers = {d: GpuSampler(world, d) for d in sorted(devices) if d.startswith("cuda")}
    for sampler in samplers.values():
        sampler.start()
    try:
        yield
    finally:
        seen = {device: sampler.stop() for device, sampler in samplers.items()}
        for recorder in recorders:
            if (device := recorder.engine.info.device) in seen:
                recorder.writer.append_telemetry(seen[device])


@contextmanager
def _host_watched(world: World, recorders: Sequence[ArmRecorder]) -> Iterator[None]:
    """Sample the machine during the measurement; every arm stores the samples."""

    def keep(sample: HostSample) -> None:
        for recorder in recorders:
            recorder.writer.append_host([sample])

    urls = (str(recorder.engine.info.details.get("url") or "") for recorder in recorders)
    port = next((port for url in urls if (port := port_here(url))), None)
    sampler = HostSampler(world, keep, server_port=port)
    sampler.start()
    try:
        yield
    finally:
        sampler.stop()


def _replay_all(
    rig: Rig, recorders: Sequence[ArmRecorder], against: BaselineReference | None
) -> None:
    """Replay every repeat; with ``replay.until=decided``, as many as the gate needs."""
    world, config = rig.world, recorders[0].plan.config
    heard = [rig.heard(recorder.plan.config) for recorder in recorders]
    arms = [_make_arm(recorder.plan.config, recorder.engine) for recorder in recorders]
    streams = config.replay.streams
    warmups = _make_warmups(heard, config)
    keep = _TraceSink(recorders, world, rig.progress)
    looks = SequentialPlan(config.replay.repeats, config.replay.most_repeats)
    mean_s = statistics.fmean(clip.duration_s for clip in rig.dataset.clips)
    starts_ns = arrivals_ns(config.replay.arrivals, streams, mean_s, config.seed)
    replay(world, arms, warmups, streams, keep)
    replayed = len(warmups)
    with _host_watched(world, recorders):
        for repeat, sessions in enumerate(_make_schedule(heard, config), start=1):
            keep.plan(sessions)
            pauses = replay(world, arms, sessions, streams, keep, replayed, starts_ns)
            replayed += len(sessions)
            for recorder in recorders:
                recorder.writer.append_pauses(pauses)
            if config.replay.until == "decided" and looks.looks(repeat):
                runs = [recorder.load() for recorder in recorders]
                verdicts = judge_runs(runs, list(map(summarise_run, runs)), against=against)
                if all(looks.stops(repeat, verdict) for verdict in verdicts):
                    break


def _make_warmups(heard: Sequence[Sequence[Clip]], config: Config) -> list[Planned]:
    """Sessions that are over before the first measured one begins.

    Args:
        heard: the clips of every arm: the same ones, under the conditions of each.
    """
    return [
        Planned(arm, clips[i % len(clips)], 0, warmup=True)
        for i in range(config.replay.warmup)
        for arm, clips in enumerate(heard)
    ]


def _make_schedule(heard: Sequence[Sequence[Clip]], config: Config) -> Iterator[list[Planned]]:
    """The sessions of one replay after the other: all repeats in one, or each in one of its own.

    Per repeat and clip, every arm, in random order: an order that alternates (ABBA) would make
    neighbouring differences similar where noise lasts, and intervals too narrow.
    """
    order = random.Random(config.seed)  # noqa: S311 not a secret
    sessions: list[Planned] = []
    until_decided = config.replay.until == "decided"
    for repeat in range(config.replay.most_repeats if until_decided else config.replay.repeats):
        clips = list(range(len(heard[0])))
        if config.replay.shuffle:
            order.shuffle(clips)
        for clip in clips:
            in_turn = order.sample(range(len(heard)), len(heard))
            sessions += [Planned(arm, heard[arm][clip], repeat) for arm in in_turn]
        if until_decided:
            yield sessions
            sessions = []
    if sessions:
        yield sessions


class _TraceSink:
    """Keeps each trace with its arm and says how far the run is."""

    def __init__(self, recorders: Sequence[ArmRecorder], world: World, progress: Progress) -> None:
        self._recorders = recorders
        self._world = world
        self._progress = progress
        self._tally = Tally([recorder.plan.name for recorder in recorders])

    def plan(self, sessions: Sequence[Planned]) -> None:
        now_ns = self._world.now_ns()
        for planned in sessions:
            if not planned.warmup:
                self._tally.plan(planned.arm, planned.clip.duration_s, now_ns)

    def __call__(self, planned: Planned, trace: Trace) -> None:
        metrics = self._recorders[planned.arm].keep(trace)
        so_far = self._tally.done(
            planned.arm, planned.clip.duration_s, self._world.now_ns(),
            ttft_ms=metrics.ttft_ms, failed=metrics.failed is not None,
        )  # fmt: skip
        self._progress.session_done(so_far)


def _make_recorders(plans: Sequence[ArmPlan], rig: Rig) -> list[ArmRecorder]:
    return [_make_recorder(plan, rig, [other.name for other in plans]) for plan in plans]


def _make_recorder(plan: ArmPlan, rig: Rig, arm_names: list[str]) -> ArmRecorder:
    return ArmRecorder(
        plan,
        rig.engine(plan.config),
        rig.dataset,
        arm_names=arm_names,
        floor_ms=rig.floor_ms,
        simulated=rig.world.simulated,
    )


def _open_again(recorders: Sequence[ArmRecorder], rig: Rig) -> list[ArmRecorder]:
    """Folders for a second measurement, if a regression has to be confirmed."""
    if not to_be_confirmed([recorder.writer.folder for recorder in recorders]):
        return []
    plans = [
        msgspec.structs.replace(plan, folder=plan.folder.parent / CONFIRM / plan.name)
        for plan in (recorder.plan for recorder in recorders)
    ]
    return _make_recorders(plans, rig)
