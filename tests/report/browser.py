"""Headless Chromium through its debugging protocol: just enough to open a page and look at it."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip


class Browser:
    """One page; ``with Browser(profile) as browser: browser.open(path)``."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self.errors: list[str] = []  # of the console, scripts and the content security policy
        self.requests: list[str] = []  # addresses the page asked for, itself and data: left out

    def __enter__(self) -> Browser:
        assert CHROMIUM is not None
        with ExitStack() as stack:
            process = stack.enter_context(
                subprocess.Popen(
                    [CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.terminate)
            assert process.stderr is not None
            listening = next(line for line in process.stderr if "DevTools listening" in line)
            server = urllib.parse.urlsplit(listening.split()[-1]).netloc
            with urllib.request.urlopen(f"http://{server}/json/list") as answer:
                targets = json.load(answer)
            address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            self._socket = stack.enter_context(connect(address, max_size=None, proxy=None))
            self._ids = itertools.count(1)
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = self._receive()
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _receive(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv(120))
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                address = params["request"]["url"]
                if not address.startswith("data:"):
                    self.requests.append(address)
        return message

    def open(self, page: Path) -> None:
        self.call("Page.navigate", url=page.as_uri())
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        self.requests = [address for address in self.requests if address != page.as_uri()]

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def look(
        self,
        file: Path,
        *,
        width: int,
        dark: bool = False,
        paper: bool = False,
        whole: bool = True,
        height: int = 800,
    ) -> None:
        """A screenshot."""  # fmt: skip
        self.emulate(width=width, height=height, dark=dark, paper=paper)
        if whole:
            height = self.run("document.documentElement.scrollHeight")
        shot = self.call(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=True,
            clip={"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
        )
        file.write_bytes(base64.b64decode(shot["data"]))

    def emulate(
        self, *, width: int, height: int = 800, dark: bool = False, paper: bool = False
    ) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.call(
            "Emulation.setEmulatedMedia",
            media="print" if paper else "screen",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
