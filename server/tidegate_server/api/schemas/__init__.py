"""What goes in and out as JSON: one schema validates, builds the value and documents it."""
