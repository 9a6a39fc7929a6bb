"""Identification among many users: milliseconds, the false positive rate over all users, and who is found.

    python -m benchmarks.identify [--users 1000000] [--readings 400]

False positives: random soft readings (heavy-tailed sizes), at a global rate of 5% and 1%. Found: a user's word through
an ideal channel, rho * word + sqrt(1 - rho^2) * noise, at a global rate of 1e-6.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from auditkit.watermark.identification import Registry
from auditkit.watermark.payload import LONG_WORD, SHORT_WORD, Payload, encode
from auditkit.watermark.statistics import null_bound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--readings", type=int, default=400)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    for bits in (LONG_WORD, SHORT_WORD):
        registry = Registry(rng.integers(0, 2**63, asked.users, dtype=np.uint64), bits)
        taken: list[float] = []
        hits = dict.fromkeys((0.05, 0.01), 0)
        for _ in range(asked.readings):
            answer = registry.identify(rng.standard_t(4, bits), fpr=0.05)
            taken.append(answer.ms)
            for rate in hits:
                hits[rate] += answer.p_value <= rate
        print(f"{bits} bits, {len(registry):,} users: {statistics.median(taken):.0f} ms (worst {max(taken):.0f})")
        for rate, count in hits.items():
            most = null_bound(count, asked.readings)
            print(f"  nominal {rate:g}: {count} of {asked.readings} given to somebody (at most {most:.3f})")
        for rho in (0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8):
            right = wrong = 0
            accuracy = []
            for at in rng.integers(0, len(registry), 40):
                word = encode(Payload.from_int(int(registry.payloads[at])), bits)
                soft = rho * (2.0 * word - 1) + np.sqrt(1 - rho**2) * rng.standard_normal(bits)
                accuracy.append(float(((soft > 0) == word).mean()))
                found = registry.identify(soft, fpr=1e-6).payload
                right += found is not None and int(found) == int(registry.payloads[at])
                wrong += found is not None and int(found) != int(registry.payloads[at])
            mean = statistics.mean(accuracy)
            print(f"  bit accuracy {mean:.3f}: {right} of 40 users found, {wrong} given to another")


if __name__ == "__main__":
    main()
