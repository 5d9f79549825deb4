"""The lists of flags, of a project and of an environment."""
