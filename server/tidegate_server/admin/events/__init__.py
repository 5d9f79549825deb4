"""The admin API for events: what happens in an environment, for pages that stay open."""
