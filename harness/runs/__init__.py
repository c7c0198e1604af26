"""A run on disk: its folder, its validity, its summary."""
