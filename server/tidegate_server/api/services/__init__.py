"""What routes ask for: the documents that a change rests on, and its commit."""
