"""Sums that a program checks: what is right, what is wrong, and what can't be told."""

import pytest

from evalqueue.evaluators.apps import Bounds
from evalqueue.evaluators.judging.checks import arithmetic

BOUNDS = Bounds(
    item_kcal_seldom_above=2000,
    meal_kcal_seldom_above=4000,
    kcal_always_wrong_from=10_000,
    items_sum_tolerance_kcal=15,
    items_sum_tolerance_share=0.05,
    macro_tolerance_share=0.20,
)
FOODS = """**Meal summary**

| Food | Quantity | Calories (kcal) | Protein (g) | Carbs (g) | Fat (g) |
|---|:-:|--:|---|---|---|
| Idli | 3 pieces | 174 | 4.8 | 36 | 0.6 |
| Sambar | 1 katori | 98 | 4.6 | 14.2 | 2.5 |
| **Total** |  | **{total}** | **9.4** | **50.2** | **3.1** |
"""
DETAIL = """
**Idli** (3 pieces)

| Nutrient | Amount |
|---|---|
| Calories | 174 kcal |
| Protein | 4.8 g |
"""
NUTRIENTS = """**Meal summary: masala dosa**

| Nutrient | Amount |
|---|---|
| Calories | {kcal} kcal |
| Protein | 5.8 g |
| Carbs | 42.5 g |
| Saturated fat | 4 g |
| Fat | 10.5 g |
"""


def check(text: str) -> arithmetic.Arithmetic:
    found = arithmetic.check(text, BOUNDS)
    assert found is not None
    return found


def test_a_right_sum_is_consistent() -> None:
    found = check(FOODS.format(total=272) + DETAIL)

    [meal] = found.meals
    assert found.consistent is True
    assert (meal.items_sum_kcal, meal.stated_total_kcal) == (272, 272)
    assert meal.macro_kcal == pytest.approx(4 * 9.4 + 4 * 50.2 + 9 * 3.1)
    assert found.remarks == ()


@pytest.mark.parametrize(("total", "adds_up"), [(287, True), (257, True), (288, False)])
def test_a_sum_may_be_off_by_fifteen_kilocalories(total: int, adds_up: bool) -> None:
    assert check(FOODS.format(total=total)).meals[0].items_add_up is adds_up


def test_a_large_sum_may_be_off_by_a_share() -> None:
    text = "| Food | kcal |\n|---|---|\n| A | 900 |\n| B | 1,000 |\n| Total | 1,995 |\n"

    assert check(text).meals[0].items_add_up is True


def test_a_wrong_sum_is_told_in_words() -> None:
    found = check(FOODS.format(total=400))

    assert found.consistent is False
    assert "The items add up to 272 kcal, not 400." in found.remarks


def test_a_table_of_nutrients_is_a_meal_with_macros_only() -> None:
    [meal] = check(NUTRIENTS.format(kcal=288)).meals

    assert meal.items_sum_kcal is None
    assert meal.items_add_up is None
    assert meal.macro_kcal == pytest.approx(287.7)
    assert meal.macros_agree is True


def test_macros_that_do_not_give_the_energy_are_inconsistent() -> None:
    assert check(NUTRIENTS.format(kcal=500)).consistent is False


def test_two_meals_of_one_message_are_checked_each_for_itself() -> None:
    found = check(FOODS.format(total=272) + DETAIL + FOODS.format(total=999))

    assert [meal.items_add_up for meal in found.meals] == [True, False]
    assert found.consistent is False


def test_two_meals_of_one_food_each_are_two_meals() -> None:
    assert len(check(NUTRIENTS.format(kcal=288) + NUTRIENTS.format(kcal=290)).meals) == 2


def test_the_detail_of_a_food_is_no_meal() -> None:
    assert len(check(FOODS.format(total=272) + DETAIL + DETAIL).meals) == 1


def test_a_total_in_words_counts_where_the_table_has_none() -> None:
    text = "| Food | Energy |\n|---|---|\n| A | 100 |\n| B | 200 |\n\n**Total calories:** 450 kcal"

    assert check(text).meals[0].items_add_up is False


@pytest.mark.parametrize("cell", ["100-150", "100 – 150 kcal", "418 kJ", "some", ""], ids=str)
def test_what_is_no_single_number_cannot_be_checked(cell: str) -> None:
    text = f"| Food | kcal |\n|---|---|\n| A | {cell} |\n| B | 200 |\n| Total | 300 |\n"

    found = check(text)

    assert found.consistent is None
    assert found.meals[0].items_sum_kcal is None


@pytest.mark.parametrize("text", ["", "2 idli, about 116 kcal", "| a | b |\n| c | d |", "|---|"])
def test_an_answer_without_a_table_of_energy_is_not_checked(text: str) -> None:
    assert arithmetic.check(text, BOUNDS) is None


def test_a_table_that_is_about_something_else_is_not_checked() -> None:
    text = "| Time | Glucose (mg/dL) |\n|---|---|\n| 9:00 PM | 146 |\n"

    assert arithmetic.check(text, BOUNDS) is None


def test_bounds_are_remarked_and_the_impossible_is_always_wrong() -> None:
    seldom = check("| Food | kcal |\n|---|---|\n| A | 2,500 |\n| B | 2,000 |\n| Total | 4,500 |\n")
    wrong = check("| Food | kcal |\n|---|---|\n| A | 12,000 |\n")

    assert not seldom.always_wrong
    assert len(seldom.remarks) == 2
    assert wrong.always_wrong
    assert "No meal has 12000 kcal." in wrong.remarks


def test_the_indian_way_of_grouping_digits_is_read() -> None:
    assert (
        check("| Food | kcal |\n|---|---|\n| A | 1,20,000 |\n").meals[0].stated_total_kcal
        == 120_000
    )


def test_a_row_that_is_too_short_is_no_error() -> None:
    assert check("| Food | kcal |\n|---|---|\n| A |\n| Total | 300 |\n").consistent is None
