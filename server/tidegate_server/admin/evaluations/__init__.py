"""The admin API for evaluations of flags, now and at earlier times."""
