"""One operation for each request, for each web framework."""
