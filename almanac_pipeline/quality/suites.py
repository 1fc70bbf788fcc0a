"""The rules: which measure of a cohort has to lie in which band, and how far it may move.

Pure data. A band says what is plausible of any circle of film people, a drift what is plausible from
one publication to the next; both only warn, because what looks odd may be true. Numbers marked
"measured" come from random circles of 5 to 300 people of MovieLens' small data set (40 of each size)
and from ten-bucket histograms of 7,472 films.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Drift = Literal["growth", "shift", "psi"]
"""growth: now / before - 1; shift: now - before; psi: population stability index of two sets of counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A measure that has to lie between `low` and `high`, both included."""

    name: str
    """Of the rule; without `drift` also of the measure."""
    low: float | None = None
    high: float | None = None
    needs: tuple[str, int]
    """A measure and how much of it there has to be, now and for a drift also before, to say anything."""
    of: str | None = None
    """The measure that drifts."""
    drift: Drift | None = None
    example: str | None = None
    """A measure that holds the slug of the film to look at first."""
    failing: str
    """What it means if the rule does not hold."""

    @property
    def expected(self) -> str:
        """The band in words."""
        if self.low is None:
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The rules about one subject, judged together for all cohorts of a run."""

    name: str
    description: str
    rows: str
    """The measure that says how many rows the others rest on."""
    rules: tuple[Rule, ...]


RATINGS = Suite(
    name="ratings",
    description="How the cohort's members give their stars and hearts.",
    rows="ratings_count",
    rules=(
        Rule(
            name="mean_stars",
            # Measured: 2.94 to 4.12.
            low=2.0,
            high=4.5,
            needs=("ratings_count", 200),
            failing="Stars are far lower or higher than people give: a scale was misread.",
        ),
        Rule(
            name="half_star_share",
            # Measured: 0.03 to 0.48.
            low=0.01,
            high=0.8,
            needs=("ratings_count", 200),
            failing="Next to no rating, or nearly every one, ends in a half: halves were cut off or added.",
        ),
        Rule(
            name="top_star_share",
            # Measured: at most 0.40.
            high=0.6,
            needs=("ratings_count", 200),
            failing="One of the ten values is most of all ratings: something writes a default.",
        ),
        Rule(
            name="stars_used_count",
            # Measured: 7 and more; 9 and more from 10 members on.
            low=6,
            needs=("ratings_count", 500),
            failing="Few of the ten values occur: some are not read.",
        ),
        Rule(
            name="liked_share",
            low=0.005,
            high=0.8,
            needs=("watched_count", 500),
            failing="Next to nothing, or nearly all, has a heart: hearts are not read, or are misread.",
        ),
        Rule(
            name="ratings_count_growth",
            of="ratings_count",
            drift="growth",
            low=-0.1,
            high=1.0,
            needs=("ratings_count", 200),
            failing="A tenth of the ratings is gone, or there are twice as many: members who left or came, "
            "or a reading that ended early or counted twice.",
        ),
        Rule(
            name="mean_stars_shift",
            of="mean_stars",
            drift="shift",
            low=-0.15,
            high=0.15,
            needs=("ratings_count", 200),
            failing="The mean moved by more than new ratings move it: look at who came or left.",
        ),
        Rule(
            name="stars_psi",
            of="star_counts",
            drift="psi",
            # The usual limits: 0.1 is a change worth a look, 0.25 another population.
            high=0.1,
            needs=("ratings_count", 200),
            failing="The stars are spread otherwise than before.",
        ),
        Rule(
            name="liked_share_shift",
            of="liked_share",
            drift="shift",
            low=-0.1,
            high=0.1,
            needs=("watched_count", 200),
            failing="Hearts came or went by the tenth: were the likes of all members read?",
        ),
    ),
)

FILMS = Suite(
    name="films",
    description="From when and of what kind the cohort's films are.",
    rows="films_count",
    rules=(
        Rule(
            name="future_films_share",
            high=0.02,
            needs=("dated_films_count", 100),
            failing="Films come out the year after next or later: years were misread, or films mistaken.",
        ),
        Rule(
            name="early_films_share",
            high=0.3,
            needs=("dated_films_count", 100),
            failing="A large part of the films is from before 1930: years were misread, or films mistaken.",
        ),
        Rule(
            name="median_runtime_minutes",
            low=40,
            high=180,
            needs=("timed_films_count", 100),
            failing="The usual film is far too short or too long: a runtime in another unit.",
        ),
        Rule(
            name="without_genre_share",
            high=0.1,
            needs=("timed_films_count", 100),
            failing="Films whose entry was read have no genre: that part of the entry is lost.",
        ),
        Rule(
            name="without_country_share",
            high=0.1,
            needs=("timed_films_count", 100),
            failing="Films whose entry was read have no country: that part of the entry is lost.",
        ),
        Rule(
            name="films_count_growth",
            of="films_count",
            drift="growth",
            low=-0.1,
            high=1.0,
            needs=("films_count", 100),
            failing="A tenth of the films is gone, or there are twice as many: members who left or came, "
            "or films that were joined or split.",
        ),
        Rule(
            name="decades_psi",
            of="decade_counts",
            drift="psi",
            high=0.1,
            needs=("dated_films_count", 100),
            failing="The films are of other decades than before: were years overwritten?",
        ),
    ),
)

HISTOGRAMS = Suite(
    name="histograms",
    description="How everyone on the site rates the cohort's films, as far as 100 people rated them.",
    rows="histograms_count",
    rules=(
        Rule(
            name="crowd_mean_stars",
            # Measured per film: 1.6 to 4.4 for all but the outer 2 %, 3.4 on average.
            low=2.3,
            high=4.2,
            needs=("histograms_count", 50),
            failing="The films' averages are far lower or higher than they are: buckets in the wrong order.",
        ),
        Rule(
            name="crowd_half_star_share",
            # Measured per film: 0.27 to 0.53 for all but the outer 2 %.
            low=0.15,
            high=0.65,
            needs=("histograms_count", 50),
            failing="Halves are rarer or more frequent than they are: buckets are shifted by one.",
        ),
        Rule(
            name="lopsided_histograms_share",
            # Measured: more than 0.75 in one bucket occurred nowhere.
            high=0.02,
            needs=("histograms_count", 50),
            example="lopsided_film",
            failing="Histograms have more than three quarters in one bucket: the others were not read.",
        ),
        Rule(
            name="gapped_histograms_share",
            high=0.02,
            needs=("large_histograms_count", 20),
            example="gapped_film",
            failing="Films with 10,000 ratings have an empty bucket: a bucket was not read.",
        ),
        Rule(
            name="average_gap_stars",
            high=0.3,
            needs=("stated_averages_count", 50),
            failing="Histograms and the averages stated beside them speak of other films or other days.",
        ),
        Rule(
            name="crowd_correlation",
            low=0.0,
            needs=("compared_films_count", 100),
            failing="The cohort likes what the crowd dislikes: histograms belong to other films.",
        ),
        Rule(
            name="histograms_count_growth",
            of="histograms_count",
            drift="growth",
            low=-0.1,
            needs=("histograms_count", 50),
            failing="A tenth of the histograms is gone.",
        ),
        Rule(
            name="crowd_mean_stars_shift",
            of="crowd_mean_stars",
            drift="shift",
            low=-0.1,
            high=0.1,
            needs=("histograms_count", 50),
            failing="The averages moved as those of thousands do not: look at what was read last.",
        ),
    ),
)

MEMBERS = Suite(
    name="members",
    description="What the members have in common in how they rate, and how many there are.",
    rows="members_count",
    rules=(
        Rule(
            name="without_ratings_share",
            high=0.5,
            needs=("members_count", 5),
            failing="Half of the members have no rating: their pages were not read, or are private.",
        ),
        Rule(
            name="largest_member_share",
            # Measured: at most 0.86 among five.
            high=0.9,
            needs=("members_count", 5),
            failing="One member gave nine of ten ratings: the rankings are theirs, or the others are unread.",
        ),
        Rule(
            name="uniform_members_share",
            # Measured: at most 0.20, one of five.
            high=0.25,
            needs=("prolific_members_count", 5),
            failing="Members with 20 ratings and more give nearly all of them the same stars: "
            "something writes a default.",
        ),
        Rule(
            name="strictness_sd_stars",
            high=1.2,
            needs=("members_count", 5),
            failing="Members differ by more than stars allow: some are read on another scale.",
        ),
        Rule(
            name="members_count_growth",
            of="members_count",
            drift="growth",
            low=-0.2,
            high=1.0,
            needs=("members_count", 5),
            failing="A fifth of the members left, or they doubled: was that meant?",
        ),
        Rule(
            name="median_ratings_count_growth",
            of="median_ratings_count",
            drift="growth",
            low=-0.2,
            needs=("members_count", 5),
            failing="The usual member has a fifth fewer ratings: readings ended early.",
        ),
    ),
)

MARTS = Suite(
    name="marts",
    description="What is published: places, tiers, labels, persons.",
    rows="rated_films_count",
    rules=(
        Rule(
            name="ranked_share",
            low=0.005,
            needs=("rated_films_count", 500),
            failing="Next to no film has a place: `min_raters` is too high for this cohort.",
        ),
        Rule(
            name="first_tier_share",
            high=0.5,
            needs=("ranked_films_count", 200),
            failing="Half of the films with a place share the first tier: the scores tell nothing apart.",
        ),
        Rule(
            name="unlabelled_share",
            high=0.99,
            needs=("rated_films_count", 200),
            failing="No film stands out: the thresholds in the seed label_thresholds do not fit.",
        ),
        Rule(
            name="estimate_mean_stars_shift",
            of="estimate_mean_stars",
            drift="shift",
            low=-0.15,
            high=0.15,
            needs=("rated_films_count", 200),
            failing="What the circle thinks of all films moved: look at the checks of ratings and members.",
        ),
        Rule(
            name="top_places_kept_share",
            low=0.6,
            needs=("ranked_films_count", 100),
            failing="More than four of ten of the first 25 places went to films from outside at once.",
        ),
        Rule(
            name="labels_psi",
            of="label_counts",
            drift="psi",
            high=0.1,
            needs=("rated_films_count", 200),
            failing="The labels are given otherwise than before: thresholds or crowd averages changed.",
        ),
        Rule(
            name="persons_count_growth",
            of="persons_count",
            drift="growth",
            low=-0.2,
            needs=("persons_count", 20),
            failing="A fifth of the ranked persons is gone: credits were lost.",
        ),
    ),
)

SUITES: dict[str, Suite] = {suite.name: suite for suite in (RATINGS, FILMS, HISTOGRAMS, MEMBERS, MARTS)}
