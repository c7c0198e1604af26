"""What a client receives for one chunk, in-process and on the wire."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.events import Chunk
from harness.languages.units import is_blank


class ChunkMessage(msgspec.Struct, frozen=True):
    """What a client receives; the field names of the system this project began with."""

    success: bool
    text: str  # stripped, as clients of that system expect
    is_final: bool
    chunk_index: int
    first_token_latency_ms: int | None  # request to first non-blank chunk; None until known
    processing_time_ms: float  # request to this chunk


def chunk_message(chunk: Chunk, request_ns: int, first_ns: int | None) -> ChunkMessage:
    """The message of one chunk.

    Args:
        request_ns: the request instant ``R`` that latencies are counted from.
        first_ns: of the first chunk that is not blank, this one included; None: none yet.
    """
    return ChunkMessage(
        success=True,
        text=chunk.text.strip(),
        is_final=chunk.is_final,
        chunk_index=chunk.index,
        first_token_latency_ms=None if first_ns is None else round((first_ns - request_ns) / 1e6),
        processing_time_ms=round((chunk.at_ns - request_ns) / 1e6, 1),
    )


def chunk_messages(chunks: Iterable[Chunk], request_ns: int) -> list[ChunkMessage]:
    """The messages of one session, in order."""
    messages: list[ChunkMessage] = []
    first_ns: int | None = None
    for chunk in chunks:
        if first_ns is None and not is_blank(chunk.text):
            first_ns = chunk.at_ns
        messages.append(chunk_message(chunk, request_ns, first_ns))
    return messages
