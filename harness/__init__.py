"""Latency benchmarking and regression testing for streaming speech-to-text.

A word's journey: recorded clip -> frames, due when spoken -> stream of an engine -> tokens ->
chunking -> chunks -> client. Every step is stamped into a trace (``events``); metrics are pure
functions of traces (``metrics``); verdicts and reports are made from metrics.

Floors, lower never imports higher (``tests/test_architecture.py`` holds the list):

0. ``errors``, ``clock``, ``audio``, ``events``, ``config``
1. ``dataset``, ``chunking``, ``environment``, ``metrics``
2. ``decoding``, ``weights``, ``engines``
3. ``replay``, ``runs``, ``verdicts``, ``report``
4. ``experiment``, ``serve``
5. ``cli`` (the only room that imports Hydra)
"""

__version__ = "0.1.0"
