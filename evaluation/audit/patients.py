"""How many patients a cell of images is at least of, from what is counted of its group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluation.audit.layout import Counts

Floats = NDArray[np.float64]
_MOST_ALIKE = 9  # images of a patient up to which the number of patients is sharpened


def least_patients(cases: Counts, images: Counts, patients: Counts, squares: Counts) -> Counts:
    """Of how many patients `cases` (...) of a group's `images` are at least, given its patients and sum of squared images.

    If j patients have c of the n images of k patients, the sum of squares is c^2 / j + (n - c)^2 / (k - j) at least. And for
    every whole r no patient's (m - r)(m - r - 1) is negative, m being the patient's images, so that those of the j patients are
    no more than the sum over all, which is known; it is 0 where all have r or r + 1 images. Where each patient has one image
    the answer is c itself, where each has one or two c / 2.
    """
    c, n, k, s = (np.asarray(one, dtype=np.float64) for one in (cases, images, patients, squares))
    least = [_smaller_root(s, s * k + c**2 - (n - c) ** 2, k * c**2)]
    least += [
        _smaller_root(r * (r + 1.0) + 0.0 * s, (2.0 * r + 1.0) * (c - n) + s + r * (r + 1.0) * k, c**2)
        for r in range(_MOST_ALIKE)
    ]
    rounded = np.ceil(np.maximum.reduce(least) - 0.01)  # far above the rounding error, far below one patient
    found = np.where(c >= n, k, np.maximum.reduce([rounded, np.minimum(c, 1.0), k - (n - c)]))
    return np.where(c > 0, found, 0.0).astype(np.int64)


def _smaller_root(a: Floats, b: Floats, c: Floats) -> Floats:
    """The smaller root of a x^2 - b x + c for a, b, c >= 0; c / b where a is 0, and 0 where there is none."""
    root = np.sqrt(np.maximum(b**2 - 4.0 * a * c, 0.0))
    smaller: Floats = np.divide(2.0 * c, b + root, out=np.zeros_like(b), where=b + root > 0)
    return smaller
