"""The admin API for flag targeting in an environment."""
