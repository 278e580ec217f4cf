"""The web page of results: its data, its writer, and the server that keeps it fresh."""
