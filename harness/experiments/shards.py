"""Clients in several processes, where the sockets of one would not be served in time.

Each shard is a process with a rig and a run folder of its own. All of them begin to replay at the
same instant, when the last one is ready. A session is stamped by one process only.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import closing
from threading import Barrier  # of this kind; between processes it is multiprocessing's
from typing import NamedTuple

import msgspec

from harness.datasets.load import Dataset
from harness.errors import HarnessError
from harness.experiments.plan import ArmPlan
from harness.experiments.progress import Progress
from harness.experiments.rig import Rig
from harness.experiments.run import replay_arms

# Measured on two cores with frames of 80 ms: 300 sockets are sent to 2.1 ms late (p99), 1000
# saturate the asyncio thread that they share.
MOST_SOCKETS = 250


class Shard(NamedTuple):
    """What one process replays."""

    plan: ArmPlan
    clips: int  # drawn from the dataset, from the plan's seed


def share_out(streams: int) -> list[int]:
    """How many streams each process gets: as few processes as will do, as evenly as can be."""
    shards = -(-streams // MOST_SOCKETS)
    return [streams // shards + (index < streams % shards) for index in range(shards)]


def draw_clips(dataset: Dataset, count: int, seed: int) -> Dataset:
    """The dataset with ``count`` of its clips, or all if there are no more, in random order."""
    drawn = random.Random(f"{seed}/clips")  # noqa: S311 not a secret
    clips = tuple(drawn.sample(dataset.clips, min(count, len(dataset.clips))))
    return msgspec.structs.replace(dataset, clips=clips)


def replay_shards(shards: Sequence[Shard]) -> None:
    """Replay every shard in a process of its own; each leaves its run folder.

    Raises:
        HarnessError: what a shard raised; the others have ended too.
    """
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit threads and sockets
    barrier = spawn.Barrier(len(shards))
    with ProcessPoolExecutor(
        len(shards), mp_context=spawn, initializer=_remember, initargs=(barrier,)
    ) as pool:
        futures = [pool.submit(_replay_shard, shard) for shard in shards]
        wait(futures)
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:  # one that was refused has broken the barrier for the others
        raise next((error for error in errors if isinstance(error, HarnessError)), errors[0])


# --- in the processes ----------------------------------------------------------------------------


class _Together(Progress):
    """Lets the replay begin when every shard has come so far."""

    def stage(self, text: str) -> None:
        if text == "Replaying":
            _barrier.wait()


_barrier: Barrier


def _remember(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 a barrier is only given to a process when it starts
    _barrier = barrier


def _replay_shard(shard: Shard) -> None:
    config = shard.plan.config
    try:
        with closing(Rig(config, _Together())) as rig:
            rig.dataset = draw_clips(rig.dataset, shard.clips, config.seed)
            replay_arms([shard.plan], rig)
    except BaseException:
        _barrier.abort()
        raise
