"""One operation per request, for each web framework."""
