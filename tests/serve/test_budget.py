"""Token buckets on a clock of the test's own, and frames counted as the library would."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given
from websockets.frames import Frame, Opcode

from harness.serve.budget import Bucket, FrameCounter

S = 1_000_000_000


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(10, 5, now_ns=0)
    assert bucket.take(10, 0) == 0
    assert bucket.take(1, 0) == 0.2  # one is owed: a fifth of a second
    assert bucket.take(0, S // 5) == 0
    assert bucket.take(5, S * 6 // 5) == 0
    assert bucket.take(20, S * 100) == 2.0  # it holds no more than its burst
    assert bucket.take(0, S * 101) == 1.0


DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
FRAMES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(DATA), st.booleans(), st.sampled_from([0, 1, 125, 126, 300])),
        st.tuples(
            st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE]),
            st.just(value=True),
            st.sampled_from([0, 1, 125]),
        ),
    ),
    max_size=12,
)


@given(FRAMES, st.lists(st.integers(1, 400), min_size=1, max_size=20), st.integers(1, 5))
def test_frames_are_counted_however_they_are_cut(
    frames: list[tuple[Opcode, bool, int]], cuts: list[int], most: int
) -> None:
    data = b"".join(
        Frame(opcode, b"x" * size, fin).serialize(mask=True) for opcode, fin, size in frames
    )
    counter, counts, start = FrameCounter(), [0, 0, 0], 0
    while start < len(data):
        piece, at = data[start : start + cuts[start % len(cuts)]], 0
        while at < len(piece):
            counted = counter.count(piece, at, most)
            assert counted.end > at
            assert sum(counted[1:]) <= most
            at = counted.end
            counts = [a + b for a, b in zip(counts, counted[1:], strict=True)]
        start += len(piece)
    controls = sum(opcode >= Opcode.CLOSE for opcode, _, _ in frames)
    messages = sum(fin and opcode in (Opcode.TEXT, Opcode.BINARY) for opcode, fin, _ in frames)
    assert counts == [messages, len(frames) - controls - messages, controls]


def test_a_frame_with_a_length_of_eight_bytes() -> None:
    data = Frame(Opcode.BINARY, bytes(70_000)).serialize(mask=True)
    counter = FrameCounter()
    assert counter.count(data[:5], 0, 64) == (5, 0, 0, 0)
    assert counter.count(data[5:], 0, 64) == (len(data) - 5, 1, 0, 0)
    assert counter.count(Frame(Opcode.PING, b"").serialize(mask=True), 0, 64) == (6, 0, 0, 1)
