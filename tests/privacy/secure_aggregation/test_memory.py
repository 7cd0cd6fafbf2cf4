from __future__ import annotations

import tracemalloc

import numpy as np

from privacy.secure_aggregation import client, server
from privacy.secure_aggregation.masking import Unsigned
from tests.privacy.secure_aggregation.federation import Federation, names

MB = 1 << 20
SIZE = 8 * MB  # values, so a vector has 32 MB


def test_ten_silos_and_the_aggregator_stay_below_three_vectors() -> None:
    # Clients mask in place and hand their vector over: at any time there are the total and one silo's vector.
    federation = Federation(10, size=SIZE)
    federation.advertise()
    federation.share()
    tracemalloc.start()
    try:
        total = server.new_total(federation.manifest)
        for index, name in enumerate(names(10)[:8]):
            vector: Unsigned = np.full(SIZE, index + 1, dtype="<u4")
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            boxes = server.incoming(federation.server, name)
            state, masked = client.mask(federation.clients[name], boxes, vector, out=vector)
            assert tracemalloc.get_traced_memory()[1] - before < 16 * MB  # one client
            federation.keep(name, state)
            federation.server = server.add(federation.server, total, name, masked)
            del vector, masked
        federation.total = total
        federation.server, federation.survivors = server.close(federation.server)
        federation.vouch()
        federation.unmask()
        tracemalloc.reset_peak()
        result = federation.open()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < SIZE * 4 * 1 + 32 * MB  # opening needs the total and no other vector
    assert np.shares_memory(result, total)
    assert (result == 36).all()


def test_adding_needs_the_total_and_the_vector_that_arrived() -> None:
    federation = Federation(10, size=SIZE)
    federation.advertise()
    federation.share()
    tracemalloc.start()
    try:
        total = server.new_total(federation.manifest)
        for name in names(10):
            arrived: Unsigned = np.ones(SIZE, dtype="<u4")
            federation.server = server.add(federation.server, total, name, arrived)
            del arrived
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * SIZE * 4 + 32 * MB
    assert peak < 2 * SIZE * 4 + 8 * MB
