"""Experiments as functions: from configs to finished runs, without Hydra."""
