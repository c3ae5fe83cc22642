"""Sentences of a simulated user after the opening. Each list has the most likely one first."""

CONFIRM = (
    "Yes, log this meal", "Yes, please log it", "Looks right, log it", "Confirmed, log it now",
    "Yes, that's what I had", "Go ahead and log this", "Yes, save it", "Please go ahead",
    "Yes, into the diary with it", "All fine, log that", "Yes, do log it", "Yes, just as it is",
)  # fmt: skip
DETAILS = (
    "{details}", "It was {details}", "I'd say {details}", "{details}, as far as I know",
    "That was {details}", "Let me think: {details}", "{details}, that's all",
)  # fmt: skip
EVASIONS = (
    "hmm, the usual I guess", "no idea, you tell me", "oh, somewhere around normal",
    "I don't keep count of that",
)  # fmt: skip
PAST_TIME = (
    "Then put it {time}", "Oh, it was {time}", "My mistake, that was {time}", "Fine, {time}",
    "Let's say {time}",
)  # fmt: skip
RESTATE = (
    "Please log {meal}", "I had {meal}", "My meal was {meal}", "For the diary: {meal}",
    "It's simple, I had {meal}", "Write down {meal}", "What I ate: {meal}", "So, {meal}",
)  # fmt: skip
SEPARATE_MEALS = (
    "These are separate meals: {meal}", "Please keep them as separate meals: {meal}",
)  # fmt: skip
ONE_DISH = ("That is one dish: {meal}", "It was all one dish, {meal}")
CORRECT_GUESS = ("It was {food}, not {guess}", "I had {food} instead of {guess}")
CORRECT_SUMMARY = (
    "Actually it was {change}", "Wait, make it {change}", "Sorry, I meant {change}",
    "That's wrong, I had {change}",
)  # fmt: skip
EDIT_LOGGED = (
    "Please change that entry, it was {change}", "I need to edit the entry: it was {change}",
    "One thing is wrong in the diary, it was {change}",
)  # fmt: skip
REPEAT_EDIT = (
    "But it was {change}, please change it", "The diary is wrong now: edit it to {change}",
    "I insist, make it {change}", "Remove the old entry then and make it {change}",
    "That leaves a wrong entry. Actually it was {change}", "Correction: {change}",
)  # fmt: skip
ASK = (
    "{question}", "Once more: {question}", "I really want to know: {question}",
    "That didn't help: {question}", "Please try again: {question}", "Seriously, {question}",
    "My doctor wants to know, {question}", "One last time: {question}",
)  # fmt: skip
FOLLOW_UPS = (
    "Can you help me with that?", "What happens next?", "And how long does it take?",
    "Is there anything you need from me?", "Please look into it.",
)  # fmt: skip
REPEAT_PREFIXES = (
    "Again: ", "As I said: ", "One more time: ", "Please, ", "Listen: ", "To repeat it: ",
    "For the last time: ", "Come on, ", "Still: ", "Hello? ",
)  # fmt: skip
INSULTS = (
    "You idiot.", "Stupid bot.", "Useless.", "You clown.", "Pathetic.", "Dumb thing.",
    "What garbage.",
)  # fmt: skip
TIMES_OF_OTHER_MEALS = ("8:30 am", "9:05 am", "7:50 am", "10:15 am")
TIMES_BY_MEAL = {"lunch": ("1:10 pm", "12:45 pm", "2:20 pm"), "dinner": ("yesterday at 8:40 pm",)}
