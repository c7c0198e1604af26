"""Results in other tools' formats, one file a format.

Those tools keep history and draw it. Their own thresholds know neither clips nor repeats, so what
may be merged is for a gate to say.
"""
