"""The admin API to promote flags from one environment to another."""
