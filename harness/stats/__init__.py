"""Numbers in, numbers out: percentiles, intervals and tests; nothing here knows a clip."""
