"""What a figure was measured on: the environment, the host's load and memory, the GPU."""
