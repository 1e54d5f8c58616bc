"""Sound to events: live sources, recordings, and the scorer that both use."""
