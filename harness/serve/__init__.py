"""Our engines as a server, so that they can be measured like any other, and seen in a browser.

``protocol`` knows the messages, ``utterance`` the engine, ``connection`` one socket, ``app`` the
routes and who may use them, ``running`` the beginning and the end, ``telemetry`` what is counted.
``wire`` and ``budget`` bound what one client may cost, ``quiet`` what it may make the log say.
``page/`` is the browser's side, ``saved`` reads what it saved.
"""

from harness.serve.app import create_app
from harness.serve.running import run_server

__all__ = ["create_app", "run_server"]
