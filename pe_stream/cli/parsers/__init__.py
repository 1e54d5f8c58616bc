"""The arguments of the commands that `main` does not define itself."""
