"""The grammar of invented names: film titles, people, places, members and their reviews.

Pure functions over a `random.Random`; everything here is made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES = _words(
    "Quiet Hollow Amber Borrowed Distant Patient Crooked Silver Drowned Gentle Feral Paper Northern Salted "
    "Burning Empty Second Velvet Broken Wandering Pale Iron Early Forgotten Sleeping Hungry Tender Violet "
    "Narrow Last Winter Copper Blind Restless Honest Frozen Secret Wooden Late Bitter Golden Lonely Slow "
    "Invisible Stolen Faithful Wild Ashen Tilted Unfinished Provincial Reluctant Nocturnal Perfect Minor"
)
_NOUNS = _words(
    "Harbour Orchard Lantern Ferryman Cartographer Sparrow Season Letter Cathedral Marsh Clockmaker Tide "
    "Garden Witness Engine Daughter Rehearsal Mirror Comet Bakery Border Weather Violin Stranger Kingdom "
    "Translator Bridge Thief Summer River Archive Shepherd Piano Corridor Beekeeper Wolf Balcony Island "
    "Apprentice Station Moth Verdict Carousel Kitchen Glacier Ghost Circus Dentist Astronomer Widow Parade "
    "Swimmer Lighthouse Tailor Machine Hotel Prophet Meadow Burglar Choir Satellite Quarry Puppet Errand "
    "Inventory Night Ladder Mountain Secretary Tunnel Postman Heron Ballroom Furnace Neighbour Tram"
)
_ABSTRACT = _words(
    "Salt Silence Light Glass Honey Mercy Dust Sleep Distance Rain Patience Thunder Smoke Tomorrow Luck "
    "Winter Bread Memory Hunger Snow Copper Doubt Laughter Gravity Autumn Milk Sorrow Fire Ordinary Things "
    "Nothing Paper Strangers Wolves Small Hours"
)
_FIRST_NAMES = _words(
    "Alma Bruno Celia Dario Edda Fenno Greta Hanno Ilse Jonas Katya Lorenz Mirela Nils Odette Pavel Quilla "
    "Rasmus Sanja Tove Ulla Viktor Wanda Xenia Yorick Zelda Anouk Bertil Clio Dunja Emeka Faro Gilda Haruki "
    "Imre Jolanda Kofi Ludo Maren Noor Otis Petra Ravi Selma Tomasz Ursel Vesna Wim Yara Zeno"
)
_PLACE_HEADS = _words(
    "Vell Oster Karr Lin Mor Thal Bran Sund Hale Wick Dor Fen Grim Ash Rav Sol Tarn Ulm Nor Pell"
)
_PLACE_TAILS = _words("mark vik ovar dale stad mere holm brück iga esk una field onne gard port")
_SURNAME_HEADS = _words(
    "Bel Cor Dra Ek Fal Gor Hal Iv Jar Kes Lom Mar Nov Orl Pet Quin Ros Sev Tor Vas Wen Zar"
)
_SURNAME_TAILS = _words(
    "ander etti holm ovic quist nara well son idou aki mann ereira ström oux ley anen ado esku"
)
_SYLLABLES = _words("ma lo ri ta ven so ki ra du ne bel or wi sha ju pe lin mo za fi")
_NUMBERS = _words("Two Three Four Five Six Seven Nine Eleven Twelve Forty Hundred")
_GERUNDS = _words("Chasing Leaving Burying Painting Forgetting Finding Outwaiting Mending Losing Following")

_OPENINGS = ("Saw this twice.", "Not what I hoped for.", "Loved every minute.", "A strange one.", "Finally.")
_MIDDLES = (
    "The second hour drags, but the harbour scenes are lovely",
    "Nobody photographs kitchens like this",
    "I kept thinking about the letter & the tram",
    'The line "we never left" broke me',
    "Too long by a reel, too short by a kiss",
)
_CLOSINGS = (".", ", and I would go again.", "; half the room was asleep.", "\n\nWould watch with friends.")


def places() -> list[str]:
    """All invented places."""
    return [head + tail for head in _PLACE_HEADS for tail in _PLACE_TAILS]


def person_name(random: Random) -> str:
    """First and last name of somebody who does not exist."""
    last = random.choice(_SURNAME_HEADS) + random.choice(_SURNAME_TAILS)
    return f"{random.choice(_FIRST_NAMES)} {last}"


def title(random: Random) -> str:
    """An invented film title."""
    pattern = random.randrange(14)
    noun, other = random.sample(_NOUNS, 2)
    if pattern <= 2:
        return f"The {random.choice(_ADJECTIVES)} {noun}"
    if pattern == 3:
        return f"{noun} of {random.choice(_ABSTRACT)}"
    if pattern == 4:
        return f"{random.choice(_FIRST_NAMES)}'s {noun}"
    if pattern == 5:
        return f"A {noun} in {random.choice(_PLACE_HEADS)}{random.choice(_PLACE_TAILS)}"
    if pattern == 6:
        return f"The {noun} & the {other}"
    if pattern == 7:
        return f"{random.choice(_GERUNDS)} {random.choice(_FIRST_NAMES)}"
    if pattern == 8:
        return f"{random.choice(_ADJECTIVES)} {random.choice(_ABSTRACT)}"
    if pattern == 9:
        return f"{random.choice(_NUMBERS)} {noun}s"
    if pattern == 10:
        return f"Last {noun} to {random.choice(_PLACE_HEADS)}{random.choice(_PLACE_TAILS)}"
    if pattern == 11:
        return f"{noun}: A {random.choice(_ADJECTIVES)} {other}"
    if pattern == 12:
        return f"{random.choice(_FIRST_NAMES)} and the {noun}"
    return f"{random.choice(_ADJECTIVES)} {noun} ({random.choice(_ABSTRACT)})"


def titles(random: Random) -> Iterator[str]:
    """Invented titles without end, none twice."""
    seen: set[str] = set()
    while True:
        found = title(random)
        number = 1
        while found in seen:
            number += 1
            found = f"{found.rsplit(' Part ', 1)[0]} Part {number}"
        seen.add(found)
        yield found


def usernames(random: Random) -> Iterator[str]:
    """Invented lower-case user names without end, none twice, some with digits or an underscore."""
    seen: set[str] = set()
    while True:
        name = "".join(random.sample(_SYLLABLES, random.choice((2, 2, 3))))
        extra = random.random()
        if extra < 0.15:
            name += str(random.randrange(2, 99))
        elif extra < 0.22:
            name += "_" + random.choice(_SYLLABLES)
        if name not in seen and len(name) > 3:
            seen.add(name)
            yield name


def review(random: Random) -> str:
    """A short invented review; now and then with quotes, an ampersand or a second paragraph."""
    return f"{random.choice(_OPENINGS)} {random.choice(_MIDDLES)}{random.choice(_CLOSINGS)}"
