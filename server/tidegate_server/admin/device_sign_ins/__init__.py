"""The admin API for programs that a person signs in from a browser."""
