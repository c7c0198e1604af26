"""The verb ``serve``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


def test_serving_leaves_no_folder_and_no_transcript(monkeypatch: pytest.MonkeyPatch) -> None:
    served = []

    def run_server(app: Any, announce: Any) -> None:
        logging.getLogger("harness.serve").info("Streaming 1-word chunk 0: 'I'")
        served.append(app)

    monkeypatch.setattr("harness.serve.run_server", run_server)
    assert main(["serve", "engine=scripted", "serve.port=0"]) == 0
    assert len(served) == 1
    assert list(Path().rglob("*")) == []
    assert main(["serve", "--prot=0"]) == 2
    assert main(["serve", "engine=scripted", "conditions=noise"]) == 2
    assert main(["serve", "engine=scripted", "chunking=interim"]) == 2
    assert main(["serve", "chunking=1word,6word"]) == 2
