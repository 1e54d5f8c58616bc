"""Tools beside the daemon: calibrate, evaluate, train, measure, make sounds."""
