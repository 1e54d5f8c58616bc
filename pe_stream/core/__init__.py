"""The pure heart: audio by sample index in, windows to score out; scores in, events out.

No clock, thread, socket, log or tensor is touched in here: time comes in as numbers.
"""
