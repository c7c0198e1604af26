"""A realtime server that keeps when it sent each piece of text: the truth from outside.

Run as a process of its own: ``python truth_server.py live|turn``. Prints its address; at the end of
its standard input it prints ``{text: instant}`` in JSON, on the clock that all processes share.
It speaks vLLM's protocol. Live: a word at every fourth frame; turn: five words, 150 ms after the
end of the audio. No word is sent twice.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time

from websockets.asyncio.server import ServerConnection, serve

WAIT_S, GAP_S, WORDS, EVERY = 0.15, 0.02, 5, 4

sent_ns: dict[str, int] = {}
numbers = itertools.count()


async def session(link: ServerConnection, live: bool) -> None:
    number, frames, said = next(numbers), 0, ""

    async def say() -> None:
        nonlocal said
        word = f"s{number}w{len(said)} "
        said += word
        message = json.dumps({"type": "transcription.delta", "delta": word})
        sent_ns[word] = time.perf_counter_ns()
        await link.send(message)

    await link.send('{"type": "session.created"}')
    async for message in link:
        if "append" in message[:40]:  # not decoded: the server must not be what is slow
            frames += 1
            if live and frames % EVERY == 0:
                await say()
        elif "session.probe" in message:
            await link.send('{"type": "error", "code": "unknown_event", "error": "unknown"}')
        elif '"final": true' in message or '"final":true' in message:
            if not live:
                await asyncio.sleep(WAIT_S)
                for _ in range(WORDS):
                    await say()
                    await asyncio.sleep(GAP_S)
            await link.send(json.dumps({"type": "transcription.done", "text": said}))


async def main(live: bool) -> None:
    async with serve(
        lambda link: session(link, live), "127.0.0.1", 0, compression=None, ping_interval=None
    ) as server:
        print(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/realtime", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(json.dumps(sent_ns), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] == "live"))
