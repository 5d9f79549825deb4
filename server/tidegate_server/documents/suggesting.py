"""Messages of schemas that suggest what a person may have meant."""

from __future__ import annotations

from tidegate_server.near_misses import question


class Suggesting(str):
    """A message about a name that does not exist, with what the person may have meant."""

    suggestions: tuple[str, ...]

    def __new__(cls, message: str, suggestions: tuple[str, ...]) -> Suggesting:
        """Return the message with a question."""
        text = super().__new__(cls, message + question(suggestions))
        text.suggestions = suggestions
        return text
