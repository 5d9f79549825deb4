"""The admin API for links that show something without signing in."""
