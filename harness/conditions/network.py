"""A network between the microphone and the engine: which frames arrive, when, in which order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from harness.clock import NS_PER_MS


class Network(NamedTuple):
    """How the frames of one session arrive."""

    delays_ms: Iterator[
        float | None
    ]  # of each frame, in turn: how late; None: lost; over: not late
    in_order: bool = True  # as over TCP: a late frame holds up those behind it
    silence: bool = False  # what is lost is replaced by silence, at the instant it was expected


class Arrival(msgspec.Struct, frozen=True):
    """One frame, at the far end of the network."""

    index: int
    due_ns: int  # A(end of the frame)
    at_ns: int  # when it is to be handed over, due_ns or later
    lost: bool = False


def arrivals(due_ns: Iterable[int], network: Network | None) -> Iterator[Arrival]:
    """Every frame once, in the order in which they are to be handed over.

    A lost one has the instant at which it would have come, had it not been late. ``due_ns`` is read
    as it is needed: it may have no end.

    Args:
        due_ns: of each frame, in turn; never falling.
        network: None: every frame is handed over when it is due.
    """
    if network is None:
        yield from (Arrival(index, due, due) for index, due in enumerate(due_ns))
        return
    on_its_way: list[tuple[int, int, Arrival]] = []  # a heap
    last_ns = 0
    for index, due in enumerate(due_ns):
        while on_its_way and on_its_way[0][0] <= due:  # none that is due later can overtake it
            yield heapq.heappop(on_its_way)[2]
        delay_ms = next(network.delays_ms, 0.0)
        at_ns = due + round(max(0.0, delay_ms or 0.0) * NS_PER_MS)
        if network.in_order:
            at_ns = last_ns = max(at_ns, last_ns)
        heapq.heappush(on_its_way, (at_ns, index, Arrival(index, due, at_ns, delay_ms is None)))
    while on_its_way:
        yield heapq.heappop(on_its_way)[2]
