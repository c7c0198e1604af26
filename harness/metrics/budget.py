"""Where the TTFT went: parts that add up to it, each owned by a service or a setting."""

from __future__ import annotations

from harness.events import SessionKind, Span, Trace
from harness.metrics.corpus import NO_SPANS
from harness.metrics.counted import first_word
from harness.metrics.instants import (
    NO_TEXT,
    NO_WORD,
    Missing,
    covered,
    deliveries_ns,
    is_compute,
    is_delivery,
    ms,
    planned_ns,
    request_ns,
    text_chunks,
)


def budget_ms(trace: Trace) -> dict[str, float] | Missing:
    """Where `ttft_ms` went; the parts add up to it.

    Until the token of the first counted word: `eot` (the wait for the endpointer's decision: its
    setting's), `network` (of `conditions`), `send_late` (the harness), then the spans the engine
    told, overlaps to the one that began first; in live sessions `wait` for what lies between them
    (audio to come, and its network); `delivery`, the way to a server and back. Then `hold` (the
    chunking strategy). No part is negative. `unattributed`: time no span covers; the budget closes
    when it is at most max(1 %, 0.5 ms).
    Missing: no text, no spans, text before R.
    """
    if not text_chunks(trace):
        return NO_TEXT
    if not any(is_compute(span) for span in trace.spans):
        return NO_SPANS
    word = first_word(trace)
    if word is None:
        return NO_WORD
    asked_ns, token_ns, chunk_ns = request_ns(trace), *word
    if token_ns < asked_ns:
        return Missing("text came before R")
    on_the_way = [s for s in trace.spans if s.name != "setup" and not is_delivery(s)]
    delivery_ns = min(deliveries_ns(trace).get(token_ns, 0), token_ns - asked_ns)
    live = trace.session.kind is SessionKind.LIVE
    if not live and trace.finish is not None:
        planned = planned_ns(trace.finish)
        on_the_way.append(Span("network", trace.finish.due_ns, planned))
        on_the_way.append(Span("send_late", planned, trace.finish.sent_ns))
        if trace.session.endpointer != "none":  # a setting owns it
            on_the_way.append(Span("eot", asked_ns, trace.finish.due_ns))
    parts: dict[str, int] = {}
    for span, own_ns in covered(on_the_way, asked_ns, token_ns - delivery_ns):
        parts[span.name] = parts.get(span.name, 0) + own_ns
    uncovered_ns = token_ns - delivery_ns - asked_ns - sum(parts.values())
    parts |= {"wait": uncovered_ns} if live else {}
    parts |= {"hold": max(0, chunk_ns - token_ns), "delivery": delivery_ns}
    parts |= {"unattributed": 0 if live else uncovered_ns}
    return {name: ms(part_ns) for name, part_ns in parts.items()}
