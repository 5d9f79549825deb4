"""The admin API for how often flags are evaluated, and which are stale."""
