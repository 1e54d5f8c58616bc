"""Training a small PE Audio checkpoint from a manifest of labelled audio.

The order is that of the stages: `frontend` (the analytic half of the codec), `bank` (clips as
filterbank outputs), `text` (the text tower), `mixtures` (examples with known onsets), `encoder`
(what is learned by gradient, in the loop of `fit`), `pipeline` (the order), `calibration`, `card`.
"""
