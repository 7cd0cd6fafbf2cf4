"""An update as the bytes that the gate is asked to let out, and what of it stays for the next round."""

from __future__ import annotations

import numpy as np

from protocol.compression import compress, decompress
from protocol.plan.compression import TopK
from protocol.rounding import Rounding
from protocol.seeds import derive_seed
from protocol.vectors import Vector
from silo_node.job import Job

_LARGEST = np.float32(1e38)


def upload(job: Job, number: int, update: Vector) -> memoryview:
    """The bytes of round `number`, as the plan's compression says. Raises TrainingError if a value is not finite.

    Under top_k (Stich et al. 2018) what earlier rounds held back is added first, and what is held back now is on disk before
    anything leaves: a round that is repeated, also after a kill, starts from the same memory and sends the same bytes.

    Under mechanism local this is post-processing. The update was noised and charged before, and so was all that the memory is
    made of, so what is sent costs no more, whatever it is rounded by; the plan's seed does for both kinds of plan.
    """
    how = job.plan.federation.compression
    rounding = Rounding(derive_seed(job.plan.seed, "compression", job.site, number))
    if not isinstance(how, TopK):
        return compress(how, update, rounding)
    if (held := job.state.unsent(before=number)) is not None:
        with np.errstate(over="ignore"):
            update = np.clip(update + held, -_LARGEST, _LARGEST)  # a refusal here would say how noise fell
    data = compress(how, update, rounding)
    job.state.keep_unsent(number, update - decompress(how, data, update.size))
    return data
