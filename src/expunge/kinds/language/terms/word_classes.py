"""Prior knowledge of words: small classes of English words, and word frequencies.

Frequencies come from wordfreq, lists of names and places from Faker.
"""

from __future__ import annotations

import math
import re
import statistics
from functools import lru_cache

from faker.providers.address.en_US import Provider as Addresses
from faker.providers.lorem.en_US import Provider as Lorem
from faker.providers.person.en_GB import Provider as BritishPersons
from faker.providers.person.en_US import Provider as Persons

from expunge.data.text.frequencies import zipf

ABROAD = ("es", "fr", "pt")
"languages whose texts share names and coinages with English, but not its ordinary words"


def words(text: str) -> frozenset[str]:
    """The words of a text, for lists too long for quotes around each."""
    return frozenset(text.split())


FUNCTION = words(
    """a an the this that these those some any every each all both no none another other such own same i me my mine
    myself you your yours yourself he him his himself she her hers herself it its itself we us our ours they them
    their theirs themselves one who whom whose which what when where why how there here then thus so than and or but
    nor yet if though although because since while as until unless whether once of in on at by for from to into onto
    upon with within without about above below over under again against between among through during before after up
    down out off near toward towards not never always also too very just only even still already perhaps maybe now
    today is am are was were be been being has have had having do does did done doing can could may might must shall
    should will would let ought yes oh ah well however therefore moreover furthermore meanwhile finally overall
    additionally despite like unlike many much more most few several first second third next last o hum hullo halloa
    hallo pooh tut ha hurrah bravo alas hey hmm ugh aye nay"""
)
"function words; even capitalised they do not begin a name"

CONNECTORS = frozenset(
    tuple(words.split())
    for words in ("of", "of the", "and the", "de", "de la", "du", "del", "di", "van", "van der", "von", "der", "la")
)
"words allowed in lower case between the parts of one name; `and` alone only after an `of`"

MALE_TITLES = words(
    """mr mister sir lord king prince duke count baron earl master father brother uncle monsieur don herr gentleman
    grandfather grandpa squire emperor"""
)
FEMALE_TITLES = words(
    """mrs ms miss lady queen princess duchess countess baroness mistress madam madame mother sister aunt dame
    mademoiselle senora signora frau grandmother grandma empress mum mom mummy"""
)
GIVEN_NAME_TITLES = words("sir king prince queen princess uncle aunt brother sister mother saint st dame")
"titles that a given name follows; after the others a surname is likelier"
TITLES = (
    MALE_TITLES
    | FEMALE_TITLES
    | GIVEN_NAME_TITLES
    | words(
        """dr doctor prof professor captain capt colonel col major maj general gen lieutenant lt sergeant sgt corporal
        private inspector superintendent constable detective officer chief commissioner judge justice president
        minister mayor senator governor reverend rev bishop pope cardinal rabbi father headmaster headmistress
        director nurse coach esq jr sr dad daddy papa mama gran granny hon honourable honorable right mme mlle signor
        m admiral commander brigadier marshal"""
    )
)

PLACE_HEADS = frozenset(suffix.lower() for suffix in Addresses.street_suffixes) | words(
    """house hall castle school academy college university tower palace inn tavern hotel church abbey cathedral prison
    cottage farm wood woods bay sea ocean strait county city town kingdom land lands cemetery hospital museum library
    theatre theater shop store bank room chamber cave dungeon dungeons wing floor bridge gate gates wharf dock docks
    pier moor heath marsh common tor desert world realm province district quarter line express railway cross pool
    mire yard islander islanders"""
)
ORGANISATION_HEADS = words(
    """ministry department office order company corporation committee council club society league army guard guild union
    brotherhood agency bureau institute association party police team press service force fund trust foundation court
    squad legion regiment fusiliers gazette times post daily chronicle telegraph news magazine"""
)
HEADS = PLACE_HEADS | ORGANISATION_HEADS
"generic nouns that a translation keeps: Baker Street becomes another street"

CALENDAR_AND_COMMON = words(
    """monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
    september october november december christmas easter god heaven providence lord christ jesus bible internet god's
    chapter part book volume figure section note question answer english tv okay ok hello hi dear sure north south
    east west northern southern eastern western"""
)
WORLD = words(
    """america american americans britain british african africa european europe europeans asia asian australian indian
    indians irish scotch scottish scots welsh french german germans italian italians spanish dutch russian russians
    chinese japanese greek greeks roman romans latin hebrew turkish turks swiss swedish danish norwegian polish
    austrian hungarian portuguese mexican canadian brazilian egyptian arab arabs jewish jew jews christian christians
    muslim muslims catholic protestant buddhist hindu victorian london paris england scotland wales ireland york
    washington kingdom states united usa uk us eu soviet western atlantic pacific mediterranean thames earth internet
    hollywood oscar oscars grammy google youtube facebook twitter amazon wikipedia netflix instagram microsoft apple
    disney reddit ai sikh sikhs hindoo hindoos mohammedan englishman englishmen frenchman irishman scotchman dutchman"""
) | frozenset(
    word.lower()
    for name in (*Addresses.countries, *Addresses.states, *Persons.language_names)
    for word in re.findall(r"[^\W\d_]{4,}", name)
    if word[0].isupper() and word not in Persons.first_names
)
"countries, their peoples and languages, and other parts of the world that every text may name"

SPEECH = words(
    """said asked cried answered replied exclaimed remarked observed whispered shouted muttered laughed added continued
    returned murmured says asks replies answers remarks thinks thought smiled nodded sighed growled gasped yelled
    snapped looked felt knew decided explained"""
)
PLACE_PREPOSITIONS = words("in at near outside inside through across toward towards into throughout around")
DETERMINERS = words(
    """a an the this that these those some any every each no another many few several most other all both his her my
    your their our its two three four"""
)
INDEFINITE = words("a an another every each many few several some two three four")

GIVEN_MALE = frozenset(Persons.first_names_male) | frozenset(BritishPersons.first_names_male)
GIVEN_FEMALE = frozenset(Persons.first_names_female) | frozenset(BritishPersons.first_names_female)
SURNAMES = frozenset(Persons.last_names) | frozenset(BritishPersons.last_names)
NOUNS = frozenset(Lorem.parts_of_speech["noun"]) - frozenset(
    word for kind in ("verb", "adjective", "adverb") for word in Lorem.parts_of_speech[kind]
)
LISTED = GIVEN_MALE | GIVEN_FEMALE | SURNAMES

RARE_ZIPF = 3.2
"zipf frequency below which a word is rare in ordinary text (1.6 in a million)"


@lru_cache(maxsize=50_000)
def englishness(word: str) -> float:
    """How much more frequent (in powers of ten) a word is in English than in other languages (the median of a few).

    Ordinary words score high, for they are written only in English; names and coinages (Holmes, quidditch) score near
    or below 0, since a translator leaves them as they are.
    """
    return zipf(word) - statistics.median(zipf(word, language) for language in ABROAD)


def keyness(known: float, count: int, total: int) -> float:
    """Smoothed log-ratio (nats) of a count among `total` words to the one expected of a word of zipf frequency
    `known`."""
    expected = total * 10 ** (known - 9) if known else 0.0
    return math.log((count + 0.5) / (expected + 0.5))
