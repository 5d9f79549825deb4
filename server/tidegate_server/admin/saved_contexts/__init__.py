"""The admin API for saved contexts, to try flags out with."""
