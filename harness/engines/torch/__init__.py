"""What engines on torch share: worker thread, token loop, captured steps, caches."""
