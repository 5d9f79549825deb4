"""Everything that speaks the Redis protocol."""
