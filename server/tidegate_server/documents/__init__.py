"""What people write: schemas of documents, read alike by the API and by commands; no I/O."""
