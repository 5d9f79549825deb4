"""The API that SDKs use: snapshots, the change stream, reports."""
