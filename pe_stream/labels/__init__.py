"""Words, examples and background to label vectors and rules; which rule holds when."""
