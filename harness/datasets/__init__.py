"""Recorded clips: manifests, hub datasets, and where each word lies in the audio."""
