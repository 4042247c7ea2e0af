"""What every receiver has in common: batching, sending, retrying and rate limiting."""
