"""A metric: how many messages a client gets for each second of audio."""

import harness


@harness.metric_function(unit="1/s", label="Chunks per second")
def chunks_per_s(trace):
    """Non-blank chunks / duration of the audio. Missing: no chunk."""
    count = sum(bool(chunk.text.strip()) for chunk in trace.chunks)
    return count / trace.session.duration_s if count else harness.Missing("no chunk")
