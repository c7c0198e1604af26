"""Voxtral 3B and Voxtral Realtime."""
