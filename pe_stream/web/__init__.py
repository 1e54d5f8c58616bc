"""The page and its API: see `server.Server`."""
