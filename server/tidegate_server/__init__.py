"""The Tidegate flag server, its policy job and its command line."""
