"""Quotes: spelling does not matter, other words do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.judging.quotes import SearchedTexts, folded

SAME = [
    ("case and white space", "Had  2\nIDLI\tat 8", "had 2 idli at 8"),
    ("no-break and thin spaces", "2\u00a0idli,\u2009116\u202fkcal", "2 idli, 116 kcal"),
    ("zero-width characters", "re\u00adfund\u200b now\ufeff", "refund now"),
    ("a variation selector", "❤\ufe0f thanks", "❤ thanks"),
    ("full-width letters", "ＯＫ　１２３", "OK 123"),
    ("ligatures", "the ﬁrst oﬃce", "the first office"),
    ("composed accents", "cafe\u0301", "café"),
    ("typographic double quotes", "he said “no way” twice", 'he said "no way" twice'),
    ("guillemets", "er sagte «nein»", 'er sagte "nein"'),
    ("German quotes", "er sagte „nein“ dazu", "er sagte 'nein' dazu"),
    ("a typographic apostrophe", "we don’t ship", "we don't ship"),
    ("quotes around the quote", "had 2 idli", "“had 2 idli”"),
    ("an en dash between numbers", "open 10–12", "open 10-12"),
    ("a dash with spaces between numbers", "open 10 – 12", "open 10-12"),
    ("an em dash between words", "the parcel—a large one—left", "the parcel - a large one - left"),
    ("two hyphens for a dash", "the parcel -- a large one", "the parcel – a large one"),
    ("a minus sign", "it is −3 degrees", "it is -3 degrees"),
    ("a non-breaking hyphen", "well‑known", "well-known"),
    ("an ellipsis in the text", "well… perhaps", "well... perhaps"),
    ("an ellipsis at the end", "I would like to cancel my order", "I would like to canc…"),
    ("an ellipsis at the beginning", "I would like to cancel my order", "…ould like to cancel"),
    ("bold and italics", "**Total** is *exactly* __214__ kcal", "Total is exactly 214 kcal"),
    ("markup within a word", "un**believ**able", "unbelievable"),
    ("code", "run `evalqueue up` now", "run evalqueue up now"),
    ("strikethrough", "~~old~~ new", "old new"),
    ("a heading", "## Order summary\nJacket", "Order summary Jacket"),
    ("a list", "You need:\n- a label\n- a box", "You need: a label a box"),
    ("a list with other marks", "You need:\n* a label\n• a box", "You need: - a label - a box"),
    ("a quotation", "> not before Monday\n> at all", "not before Monday at all"),
    ("a table", "| Idli | 116 |\n|---|:--:|\n| Total | 214 |", "Idli 116 Total 214"),
    ("a row of a table", "| **Total** | 116 |", "| Total | 116 |"),
    ("a line break of HTML", "one<br/>two", "one two"),
    ("the text of a link", "see [our policy](https://x.example/p) now", "see our policy now"),
    ("a whole link", "see [our policy](https://x.example)", "[our policy](https://x.example)"),
    ("an escaped mark", r"5\* hotel", "5* hotel"),
    ("an end of a sentence", "had 2 idli at 8", "had 2 idli."),
    ("a script without spaces", "订单明天送达", "明天送达"),
    ("a word with underscores", "call track_order now", "track_order"),
    ("half of a surrogate pair", "a\ud800b", "a\ufffdb"),
]  # fmt: skip
OTHER = [
    ("another number", "had 2 idli", "had 3 idli"),
    ("a part of a number", "had 13 idli", "3 idli"),
    ("the beginning of a number", "it costs 199 euro", "it costs 19"),
    ("a number without its fraction", "it costs 19.90 euro", "it costs 19"),
    ("the fraction of a number", "it costs 19.90 euro", "90 euro"),
    ("a part of a word", "that is impossible", "possible"),
    ("the beginning of a word", "we refunded it", "we refund"),
    ("a missing word", "it does not ship", "it does ship"),
    ("another order", "yes and no", "no and yes"),
    ("another word", "by Monday", "by Friday"),
    ("a sign", "it is -3 degrees", "it is 3 degrees"),
    ("an apostrophe that makes another word", "we're late", "were late"),
    ("words of two texts", "the first", "the first the second"),
    ("another accent", "resumé", "resume"),
    ("another vowel sign", "की", "का"),
    ("nothing", "had 2 idli", "  "),
    ("only quotes", "had 2 idli", '""'),
    ("only markup", "**a** - b", "** -"),
    ("only an ellipsis", "well…", "…"),
]


@pytest.mark.parametrize(("said", "quote"), [pytest.param(s, q, id=i) for i, s, q in SAME])
def test_a_true_quote_is_found_however_it_is_spelt(said: str, quote: str):
    assert SearchedTexts([said]).has(quote)


@pytest.mark.parametrize(("said", "quote"), [pytest.param(s, q, id=i) for i, s, q in OTHER])
def test_other_words_are_no_quote(said: str, quote: str):
    assert not SearchedTexts([said, "the second"]).has(quote)


@given(st.text(max_size=300))
def test_folding_twice_changes_little_and_a_text_quotes_itself(text: str):
    once = folded(text)

    assert once == " ".join(once.split())
    if once.strip(" .,;:'-*[]"):
        assert SearchedTexts([f"before\n{text}\nafter"]).has(text)
