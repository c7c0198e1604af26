"""The verb ``serve``: an engine of ours as a realtime server with its page."""

from __future__ import annotations

import logging

from harness.cli import compose as hydra_side
from harness.cli.help import asks_for_help, print_help
from harness.conditions import Clean
from harness.errors import ConfigError
from harness.events import SessionKind

WHAT = """\
Serve an engine: vLLM's protocol on /v1/realtime, chunk messages on /ws/transcribe, the page at /,
/health and /metrics. Loopback unless serve.host says otherwise; Ctrl-C finishes what is under way.

  python -m harness serve chunking=1word
  python -m harness serve engine=scripted serve.port=8123"""


def serve(argv: list[str]) -> int:
    """Serve until interrupted."""
    if asks_for_help(argv):
        return print_help("serve", WHAT, ending="")

    # Not through Hydra's main: it would make a run's folder, and log every transcript there.
    config = hydra_side.to_config(hydra_side.compose_alone(argv))
    if config.conditions != Clean():
        raise ConfigError(
            "serve takes what its clients send as it comes", value=config.conditions.name,
            allowed="conditions=clean",
        )  # fmt: skip
    if config.chunking.takes_back:
        raise ConfigError(
            "serve sends committed text only", value=f"chunking={config.chunking.name}",
            allowed="a strategy that takes nothing back, such as chunking=1word",
        )  # fmt: skip
    from harness.cli.progress import console
    from harness.clock import RealWorld
    from harness.datasets.load import load_dataset
    from harness.engines.factory import make_engine
    from harness.serve import create_app, run_server
    from harness.serve.app import read_token

    logging.getLogger("harness.serve").setLevel(logging.INFO)
    logging.getLogger("harness.serve").addHandler(logging.StreamHandler())
    world = RealWorld()
    read_token(config.serve)  # what is missing is told before minutes of loading
    clips = load_dataset(config.dataset).clips
    console.print("Loading the engine ...", style="dim")
    engine = make_engine(config, world)
    try:
        app = create_app(
            engine,
            config.serve,
            world,
            kind=SessionKind(config.session.kind),
            chunking=config.chunking,
            chunking_name=config.chunking.name,
            clips=clips,
        )
        console.print(f"Serving {engine.info.model}; Ctrl-C ends it", style="dim")
        run_server(app, announce=lambda url: console.print(f"listening on {url}"))
    finally:
        engine.close()
    return 0
