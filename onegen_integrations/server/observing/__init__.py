"""What an operator sees of a server: health, metrics, traces and the access log."""
