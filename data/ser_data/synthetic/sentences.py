"""Our own sentences for the demo corpus: by class, by valence, and by neither. Nothing is taken from a corpus or a film.

The words show valence better than the class within it (an angry and a frustrated speaker share most lines); how it is
said (`ser_data.synthetic.screenplay`) shows arousal. `{slot}` is filled from `SLOTS`.
"""

import random
from typing import Final

CLASSES: Final = ("ang", "exc", "fru", "hap", "neu", "sad", "sur")

SLOTS: Final = {
    "thing": "the ticket|the form|the passport|the letter|the car|the suitcase|the phone|the contract|the key|the bill|"
    "the photograph|the piano|the garden|the report|the kitchen|the guitar|the computer|the bicycle",
    "who": "my sister|your brother|the doctor|the neighbour|my boss|the driver|your mother|the teacher|my friend|"
    "the woman at the counter|the man on the train|our daughter|my uncle|the captain",
    "when": "this morning|last night|on Monday|at noon|before the summer|after dinner|two weeks ago|at the weekend|"
    "in the evening|when you called|on the way home|since April",
    "where": "at the station|in the office|at the airport|in the garden|by the river|on the second floor|at school|"
    "in the waiting room|near the market|at the hotel|down the street|at the bank",
    "count": "two|three|four|five|six|ten|twelve|twenty",
}

OWN: Final[dict[str, str]] = {
    "ang": """How dare you take {thing} from me
Get out of here and leave {thing} alone
I hate the way you talk to {who}
You lied to me about {thing} and I will not forgive it
Do not shout at {who} like that
I could kill him for what he did {where}
You have no right to touch {thing}
Shut the door and shut your mouth
I am furious with {who} and you know it
Stop it right now or I will throw {thing} away
You betrayed me {when}
Nobody insults {who} in my house""",
    "fru": """I have filled in {thing} {count} times already
Why does nobody {where} ever answer me
We have been over this again and again {when}
I keep asking about {thing} and nobody listens
They sent me back to the same line {where}
It never works no matter what I try with {thing}
Every time I call they put me on hold
I told {who} {count} times and still nothing happens
This is so pointless, the rules change every day
I can not get a straight answer about {thing}
What else do you want me to do {where}
I am tired of explaining this to {who}""",
    "sad": """I miss {who} so much it hurts
{who} died {when} and I was not there
I cried all night after the funeral
Nothing will ever be the same without {who}
I feel so empty and alone {where}
She is gone and I never said goodbye
I lost the baby {when}
My heart is broken and I can not sleep
We buried him {when} in the rain
I do not think I will ever see {who} again
I am so lonely since {who} left me
All I have left is {thing} and the memories""",
    "hap": """I am so happy for you and {who}
It is lovely to sit here with you {where}
That is such sweet news about {who}
I smiled all the way home {when}
We had a wonderful time {where}
I am really glad that {who} came {when}
You make me feel warm and safe
It was a beautiful day {where}
I love how {thing} turned out
I am grateful for {who} and for you
We laughed so much {when}
Life is good and I am content""",
    "exc": """I got in, I got in, they accepted me
We won, I can not wait to tell {who}
I am going to see the ocean for the first time
They gave me the job {where}, can you imagine
I am getting married {when} and you must come
We are going to have a party for {count} hundred people
Come on, hurry, it is about to start {where}
This is the best thing that ever happened to me
I have tickets for the concert, front row
We are flying to Paris with {who}, tomorrow
I can hardly sit still, it is so thrilling
Look at {thing}, is it not fantastic""",
    "neu": """I put {thing} on the table {when}
{who} works {where} from nine to five
The next train leaves in {count} minutes
You turn left {where} and then go straight
I need {thing} and {count} copies of it
We could meet {where} {when}
The meeting is in room {count}
Please write your name and your address here
There are {count} chairs {where}
I usually read the paper {when}
{who} asked about {thing} {when}
The shop {where} opens at {count}""",
    "sur": """Oh my god, is that {who}
What, you did that {when}
No way, you never told me about {thing}
Wait, {who} is your cousin
I did not expect to see you {where}
Really, {count} of them, are you serious
How on earth did {thing} get here
You are pregnant, since when
Where did you come from all of a sudden
I had no idea that {who} could sing""",
}
"""Lines that only one class would say."""

VALENCE: Final = {"ang": "negative", "fru": "negative", "sad": "negative", "hap": "positive", "exc": "positive"}
"""Classes that share lines; neu and sur have none to share."""

SHARED: Final[dict[str, str]] = {
    "negative": """I can not believe that {who} did this to us
This is all wrong and you know it
I do not want to talk about {thing} any more
You never cared about {who} at all
It is over and there is nothing we can do
I wish that {thing} had never been made
Everything went wrong {when}
Why did you not tell me about {thing}
They took everything away from us {when}
That was the worst day of my life
I should never have trusted {who}
We lost {thing} because of you
I do not know how to go on like this
You have no idea what I went through {where}
It is not fair to {who} and it is not fair to me
I am sick and nobody will help me""",
    "positive": """I have great news about {thing}
We are going to be together {when}
This is exactly what I always wanted
I love it, I really love {thing}
You did it, I knew that you could
{who} said yes {when}
It is going to be a perfect day {where}
I am so proud of {who}
What a wonderful surprise to find {thing}
We can finally go and live {where}
They liked {thing}, they really liked it
You have to come and see {thing}
Everything worked out with {who}
I feel like singing and dancing {where}
My dream came true {when}
That is the nicest thing anybody ever said""",
}

ANYBODY: Final[str] = """Yeah, I know what you mean
Well, that is what {who} told me
I was thinking about it {when}
So, what are you going to do about {thing}
I guess so
Okay, let us see
Did you talk to {who} {when}
I have to tell you something
What did {who} say {where}
You know how it is {where}
And then I went home {when}
That is how it happened
I saw {who} {where} {when}
Do you remember {thing}
Listen to me for a minute
I mean it
Tell me about {who}
It was {count} years ago
Let me look at {thing}
You were there {when}
All right, go ahead
Are you coming with {who}
I just spoke to {who}
Is that {thing}"""
"""Lines that say nothing about the speaker's state."""

_ASKING: Final = frozenset({"Why", "What", "How", "Where", "Did", "Do", "Are", "Is", "Really"})

P_ANYBODY = 0.12
"""Share of turns whose words carry nothing."""

P_OTHER = 0.05
"""Share of turns whose words point to another class."""

P_OWN = 0.15
"""Of the rest: share whose words point to the class itself, and not only to its valence."""


P_MORE = 0.35
"""Share of turns with a second sentence, which carries nothing."""


def words(label: str, chance: random.Random) -> str:
    """What a speaker in the state `label` says: one sentence or two; deterministic in `chance`."""
    sentences = [_sentence(label, chance)]
    if chance.random() < P_MORE:
        sentences.insert(chance.randrange(2), _filled(ANYBODY, chance))
    return " ".join(sentences)


def _sentence(label: str, chance: random.Random) -> str:
    lot = chance.random()
    if lot < P_ANYBODY:
        return _filled(ANYBODY, chance)
    if lot < P_ANYBODY + P_OTHER:
        label = chance.choice([other for other in CLASSES if other != label])
    shared = SHARED.get(VALENCE.get(label, ""))
    return _filled(OWN[label] if shared is None or chance.random() < P_OWN else shared, chance)


def _filled(lines: str, chance: random.Random) -> str:
    line = chance.choice(lines.split("\n"))
    for slot, values in SLOTS.items():
        while f"{{{slot}}}" in line:
            line = line.replace(f"{{{slot}}}", chance.choice(values.split("|")), 1)
    question = line.split()[0] in _ASKING and not line.startswith(("Do not", "What a "))
    return line[0].upper() + line[1:] + ("?" if question else ".")
