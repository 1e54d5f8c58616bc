"""Events made of several sounds: repeated, in a rhythm, one after the other."""
