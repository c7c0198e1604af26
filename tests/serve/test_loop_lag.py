"""A client whose own event loop is late measures itself: its run is invalid."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import Config, ReplayConfig
from harness.datasets import ManifestDataset
from harness.engines.inject import InjectConfig
from harness.engines.null import NullEngine
from harness.engines.remote.engine import RealtimeClient
from harness.engines.remote.options import RealtimeOptions
from harness.engines.setting import NoModel
from harness.experiments.plan import ArmPlan
from harness.experiments.progress import Progress
from harness.experiments.run import run_arms
from harness.metrics.instrument import loop_lateness_ms
from harness.runs.folder import load_run

from .serving import WORLD, serving

pytestmark = pytest.mark.e2e


def block_the_loop(monkeypatch: pytest.MonkeyPatch, ms: int) -> None:
    """Hold the sockets' thread for ``ms`` of every ``ms`` + 20."""
    probe = RealtimeClient.probe

    def then_block(client: RealtimeClient) -> None:
        probe(client)

        def block() -> None:
            WORLD.sleep_until_ns(WORLD.now_ns() + ms * 1_000_000)
            client._loop.call_later(0.02, block)

        client._loop.call_soon_threadsafe(block)

    monkeypatch.setattr(RealtimeClient, "probe", then_block)


@pytest.mark.parametrize(
    "inject", [InjectConfig(), pytest.param(InjectConfig(delay_ms=5), marks=pytest.mark.slow)]
)
def test_a_blocked_event_loop_makes_the_run_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inject: InjectConfig
) -> None:
    block_the_loop(monkeypatch, 100)
    with serving(NullEngine(WORLD)) as server:
        config = Config(
            model=NoModel(),
            engine=RealtimeOptions(url=server.url("/v1/realtime"), model="null", kind="turn"),
            dataset=ManifestDataset(clips=["07-heaven"]),
            replay=ReplayConfig(repeats=1, warmup=0),
            inject=inject,
        )
        plan = ArmPlan(name="1word", config=config, folder=tmp_path / "run")
        (summary,) = run_arms([plan], Progress())
    assert "loop_lag" in [text.partition(":")[0] for text in summary.validity]
    (trace,) = load_run(plan.folder).traces  # what it was judged by is kept
    lag_ms = loop_lateness_ms(trace)
    assert len(lag_ms) >= 50 * (trace.session.duration_s - 0.2)
    assert max(lag_ms) > 40
