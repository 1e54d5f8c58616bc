"""`pe-stream bench`: what this machine makes of a checkpoint, in figures that can be compared."""
