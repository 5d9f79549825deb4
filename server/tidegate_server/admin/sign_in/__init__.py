"""The admin API for signing in and out, and for invitations."""
