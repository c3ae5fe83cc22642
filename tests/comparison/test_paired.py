"""The difference of two measurements, against published figures and by its coverage."""

import math
import time

import pytest

from evalqueue.evaluators.statistics.paired import mcnemar, of_shares


@pytest.mark.parametrize(
    ("lost", "gained", "p_value"),
    [
        (12, 2, 0.0129),  # two culture media: Armitage and Berry 1994, p. 127
        (1, 7, 0.0703),  # airway responsiveness: Fagerland et al. 2013, BMC Med. Res. Method. 13:91
        (0, 0, 1.0),
        (5, 5, 1.0),
        (0, 6, 0.03125),
    ],
)
def test_mcnemar(lost: int, gained: int, p_value: float) -> None:
    assert mcnemar(lost, gained) == pytest.approx(p_value, abs=5e-5)
    assert mcnemar(gained, lost) == mcnemar(lost, gained)


@pytest.mark.parametrize("pairs", [20, 50])
@pytest.mark.parametrize(
    ("lost", "gained"),
    [(0.05, 0.05), (0.02, 0.1), (0.2, 0.2), (0.1, 0.3), (0.0, 0.1), (0.01, 0.01)],
)
def test_the_interval_covers_the_true_difference(pairs: int, lost: float, gained: float) -> None:
    """All possible outcomes, weighed by how likely they are."""
    covered = 0.0
    for b in range(pairs + 1):
        for c in range(pairs - b + 1):
            alike = pairs - b - c
            ways = math.comb(pairs, b) * math.comb(pairs - b, c)
            chance = ways * lost**b * gained**c * (1 - lost - gained) ** alike
            found = of_shares(lost=b, gained=c, pairs=pairs)
            if found.low <= gained - lost <= found.high:
                covered += chance
    assert covered >= 0.93


def test_no_pair_that_differs_shows_how_much_could_have_been_missed() -> None:
    few = of_shares(lost=0, gained=0, pairs=20)
    many = of_shares(lost=0, gained=0, pairs=2_000)
    for found, least, most in ((few, 0.1, 0.2), (many, 0.001, 0.002)):
        assert found.difference == 0
        assert least < found.high < most
        assert -most < found.low < -least
    assert few.detectable > 10 * many.detectable


def test_mcnemar_of_thousands_is_exact_and_takes_no_time() -> None:
    """An API computes it in the event loop."""
    lost, gained = 10_000, 10_300
    z = (gained - lost - 1) / math.sqrt(lost + gained)
    started = time.process_time()
    assert mcnemar(lost, gained) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)
    assert time.process_time() - started < 2
