"""Headless browsers, just enough to open a page and look at it; no driver, no dependency.

Chromium is spoken to by its DevTools protocol, Firefox by WebDriver BiDi; both are JSON on a
WebSocket that the browser itself opens.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

ANSWER_S = 120  # a busy machine may take its time; only what hangs takes that long


def _installed(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


PROGRAMS = {
    "chromium": _installed("chromium", "chromium-browser", "chrome", "google-chrome"),
    "firefox": _installed("firefox-esr", "firefox"),
}
_PACKAGES = {"chromium": "chromium", "firefox": "firefox-esr"}
# For `pytest.mark.parametrize("name", BROWSERS)`.
BROWSERS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            program is None,
            reason=f"no {name} on this machine: apt-get install {_PACKAGES[name]}",
        ),
    )
    for name, program in PROGRAMS.items()
]
_CHROMIUM_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-dev-shm-usage", "--remote-debugging-port=0",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
)  # fmt: skip
_FIREFOX_PREFERENCES: dict[str, object] = {
    "remote.active-protocols": 1,  # BiDi
    "media.navigator.streams.fake": True,  # a microphone that hears a tone
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,  # nobody clicks
    "media.autoplay.block-webaudio": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",  # Firefox's own news about itself
}


class Browser(ABC):
    """One page of a browser of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.errors: list[str] = []  # of the console, scripts and the content security policy
        self.requests: list[str] = []  # addresses the page asked for, itself and data: left out
        self.schemes = ("light",)  # colour schemes that can be emulated

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        sent = next(self._ids)
        self._socket.send(json.dumps({"id": sent, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(ANSWER_S))
            if message.get("id") == sent:
                assert not message.get("error"), message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message.get("method"), message.get("params", {}))

    @abstractmethod
    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        """An event: an error, a request."""

    def open(self, address: str | Path) -> None:
        """Load a page, and wait until it is there."""
        url = address if isinstance(address, str) else address.as_uri()
        self._navigate(url)
        self.wait_for("document.readyState === 'complete'")
        self.requests = [asked for asked in self.requests if asked != url]

    @abstractmethod
    def _navigate(self, url: str) -> None: ...

    @abstractmethod
    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise, as by a user."""

    def wait_for(self, condition: str) -> None:
        self.run(
            "new Promise((resolve, reject) => { const by = performance.now() + 60000;"
            f" const check = () => ({condition}) ? resolve(true) : performance.now() > by"
            " ? reject(new Error('never true')) : setTimeout(check, 20); check(); })"
        )

    @abstractmethod
    def press_enter(self) -> None: ...

    @abstractmethod
    def emulate(self, *, width: int, height: int = 800, scheme: str = "light") -> None:
        """The size of the window, and which colours the reader prefers."""

    @abstractmethod
    def _picture(self, width: int, height: int) -> str:
        """A PNG of the page's upper left corner, base64."""

    def look(self, file: Path, *, width: int, scheme: str = "light") -> None:
        """A screenshot of the whole page, for people."""
        self.emulate(width=width, scheme=scheme)
        height = self.run("document.documentElement.scrollHeight")
        file.write_bytes(base64.b64decode(self._picture(width, height)))


class _Chromium(Browser):
    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(socket)
        self.schemes = ("light", "dark")
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        match method:
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                if not params["request"]["url"].startswith("data:"):
                    self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])

    def _navigate(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, expression: str) -> Any:
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press_enter(self) -> None:
        for kind in ("rawKeyDown", "char", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", text="\r",
                      windowsVirtualKeyCode=13)  # fmt: skip

    def emulate(self, *, width: int, height: int = 800, scheme: str = "light") -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.call(
            "Emulation.setEmulatedMedia",
            media="screen",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def _picture(self, width: int, height: int) -> str:
        area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=area
        )
        return str(shot["data"])


class _Firefox(Browser):
    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(socket)
        self.call("session.new", capabilities={})
        self._page = self.call("browsingContext.getTree")["contexts"][0]["context"]
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"],
                  contexts=[self._page])  # fmt: skip

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        match method:
            case "log.entryAdded":
                told = params["level"] == "error" or (
                    params["type"] == "console" and params["level"] == "warn"
                )
                self.errors += [str(params["text"])] if told else []
            case "network.beforeRequestSent":
                if not params["request"]["url"].startswith("data:"):
                    self.requests.append(params["request"]["url"])

    def _navigate(self, url: str) -> None:
        self.call("browsingContext.navigate", context=self._page, url=url, wait="complete")

    def run(self, expression: str) -> Any:
        result = self.call(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._page}, awaitPromise=True, userActivation=True,
        )  # fmt: skip
        assert result["type"] == "success", result
        value = result["result"].get("value")
        return None if value is None else json.loads(value)

    def press_enter(self) -> None:
        # A headless window never has the focus, without which no key presses a button.
        self.run("document.activeElement.click()")

    def emulate(self, *, width: int, height: int = 800, scheme: str = "light") -> None:
        assert scheme in self.schemes
        size = {"width": width, "height": height}
        self.call("browsingContext.setViewport", context=self._page, viewport=size)

    def _picture(self, width: int, height: int) -> str:
        area = {"type": "box", "x": 0, "y": 0, "width": width, "height": height}
        shot = self.call("browsingContext.captureScreenshot", context=self._page,
                         origin="document", clip=area)  # fmt: skip
        return str(shot["data"])


@contextlib.contextmanager
def browsing(name: str, folder: Path, *options: str) -> Iterator[Browser]:
    """A browser with an empty page.

    Args:
        name: chromium or firefox.
        folder: where its profile may be made.
        options: of its command line.
    """
    program = PROGRAMS[name]
    assert program is not None
    profile = folder / f"profile-{name}"
    profile.mkdir()
    if name == "firefox":
        lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in
                 _FIREFOX_PREFERENCES.items())  # fmt: skip
        (profile / "user.js").write_text("\n".join(lines), encoding="utf-8")
        command = [program, "--headless", "--no-remote", "--profile", str(profile),
                   "--remote-debugging-port=0", *options, "about:blank"]  # fmt: skip
    else:
        command = [program, *_CHROMIUM_FLAGS, f"--user-data-dir={profile}", *options, "about:blank"]
    with _started(command, profile) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if " listening on ws://" in line)
        address = line.split()[-1]
        if name == "firefox":
            address += "/session"
        else:
            server = urllib.parse.urlsplit(address).netloc
            with urllib.request.urlopen(f"http://{server}/json/list") as answer:
                targets = json.load(answer)
            address = next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
        with connect(address, max_size=None, proxy=None) as socket:
            yield _Firefox(socket) if name == "firefox" else _Chromium(socket)


@contextlib.contextmanager
def _started(command: Sequence[str], home: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
        env=os.environ | {"HOME": str(home), "MOZ_CRASHREPORTER_DISABLE": "1"},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
