"""What is heard through the wire is what the engine of this process hears."""

from __future__ import annotations

import numpy as np
import pytest
from serving.engines import ask, asking, found_by, labels_of, noise, serving, windows

from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load("embedded", device="cpu", dtype="float32", threads=1)


def test_eight_streams_are_heard_bit_for_bit_and_after_forgetting_within_a_hundred_thousandth(
    checkpoint: Checkpoint,
) -> None:
    labels = labels_of(checkpoint)
    local, count, hops = Engine(checkpoint, labels), 8, [50, 12, 12, 12, 12, 12]
    with (
        serving(checkpoint) as server,
        asking(checkpoint, labels, engine=server.url) as remote,
    ):
        streams, own = [remote.stream(f"s{i}") for i in range(count)], [Stream() for _ in range(8)]
        made = [list(windows(noise(130, seed), 0, hops, 60)) for seed in range(count)]
        sent = [list(windows(noise(130, seed), 16, hops, 60)) for seed in range(count)]
        for hop in range(len(hops)):
            if hop == 4:
                server._scoring._held.clear()
            expected = local.hear_and_embed(own, [each[hop] for each in made], embed=hop % 2 == 0)
            answered = ask(remote, streams, [each[hop] for each in sent], embed=hop % 2 == 0)
            for (scores, embeddings), (want, rows) in zip(
                found_by(answered), expected, strict=True
            ):
                if hop < 4:
                    assert np.array_equal(scores, want)
                else:
                    np.testing.assert_allclose(scores, want, atol=1e-5, rtol=0)
                assert (embeddings is None) == (rows is None)
                if embeddings is not None and rows is not None:
                    assert embeddings.dtype == np.float16
                    np.testing.assert_allclose(embeddings, rows, atol=0 if hop < 4 else 1e-2)
        assert server._scoring.streams == count
