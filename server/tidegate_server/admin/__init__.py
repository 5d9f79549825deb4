"""The admin API: one folder for each kind of thing that people configure."""
