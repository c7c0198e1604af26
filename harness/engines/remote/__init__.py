"""Realtime servers as engines: vLLM's ``/v1/realtime`` (and our ``serve``), Mistral's, OpenAI's.

``adapters`` knows the messages, ``connection`` how to get a socket, ``stream`` one session,
``engine`` the thread that they share.
"""

from harness.engines.remote.engine import connect_realtime

__all__ = ["connect_realtime"]
