"""What `pe-stream` does: a module for each command that has no package of its own."""
