#!/usr/bin/env python3
"""Principal angles between the bases of all pairs of boundaries, from a run's last checkpoints.

    bench/basis_angles.py RUN...        needs numpy

Prints degrees: mean, smallest and largest over the columns.
"""
import glob
import json
import re
import struct
import sys

import numpy as np


def bases_of(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        for name, entry in header.items():
            found = re.fullmatch(r"boundary\.(\d+)\.sender\.basis", name)
            if not found:
                continue
            first, last = entry["data_offsets"]
            file.seek(8 + length + first)
            values = np.frombuffer(file.read(last - first), dtype="<f4")
            yield int(found[1]), values.reshape(entry["shape"]).astype(float)


for run in sys.argv[1:]:
    steps = sorted(glob.glob(run + "/checkpoints/step-*"), key=lambda path: int(path.split("-")[-1]))
    if not steps:
        sys.exit("basis_angles: there is no checkpoint in " + run)
    bases = {}
    for path in glob.glob(steps[-1] + "/stage-*.safetensors"):
        bases.update(bases_of(path))
    print(run)
    for a in sorted(bases):
        for b in sorted(bases):
            if a >= b:
                continue
            cosines = np.linalg.svd(bases[a].T @ bases[b], compute_uv=False)
            angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
            print(f"  {a} and {b}: {angles.mean():.1f} ({angles.min():.0f} to {angles.max():.0f})")
