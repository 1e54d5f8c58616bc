"""Thresholds from one's own room: how often each would raise a false alarm, and how sure that is.

rates, tail and propose are pure: scores in, figures out.
"""
