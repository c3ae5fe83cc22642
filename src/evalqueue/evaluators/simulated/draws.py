"""Reproducible pseudo-random numbers, derived from a hash of the given parts."""

from hashlib import blake2b


def draws(*parts: object, count: int = 1) -> list[float]:
    """`count` numbers (at most 8) in [0, 1). The same parts give the same numbers."""
    text = "\0".join(str(part) for part in parts)
    digest = blake2b(text.encode(errors="replace"), digest_size=8 * count).digest()
    return [int.from_bytes(digest[start : start + 8]) / 2**64 for start in range(0, len(digest), 8)]
