"""Commands of `pe-stream`: a module for each that has no package of its own."""
