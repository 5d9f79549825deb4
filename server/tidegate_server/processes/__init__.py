"""The server's processes: supervisor, web workers, policy job."""
