"""Sentences of about thirty tokens with one name each, for measuring how fast texts are linked."""

from collections.abc import Sequence

from onegen_model import OneGenModel, Passage, entity_passage

NAMES = {
    "Lisbon": "capital of Portugal",
    "Marie Curie": "physicist and chemist",
    "the Danube": "river in Europe",
    "Toyota": "maker of cars",
    "Johann Sebastian Bach": "composer",
    "Lake Victoria": "lake in Africa",
    "Charles Darwin": "naturalist",
    "Copenhagen": "capital of Denmark",
    "the Eiffel Tower": "tower in Paris",
    "Nairobi": "capital of Kenya",
    "Frida Kahlo": "painter",
    "the Sahara": "desert in Africa",
}
SENTENCES = (
    "When the last ferry had gone they walked back along the harbour wall and talked about the "
    "winter that they had once spent in {name} with two friends.",
    "The small museum at the end of the street keeps a few letters, a coat and a pair of glasses "
    "that once belonged, as people say, to {name} in old age.",
    "Nobody in the class had expected that the last question of the test would be about {name}, "
    "so most of them left the page empty and went home early.",
    "A short report in the evening paper says that the price of bread has gone up again, and that "
    "even people near {name} now think about growing their own wheat.",
    "My uncle kept a map above his desk on which he had marked, in green ink, every place where he "
    "had heard someone tell a story about {name} after dinner.",
    "The second chapter of the book begins slowly, with a long list of tools and seeds, and only "
    "then comes back to {name} and to what happened in the spring.",
    "After the rain had stopped we found a dry bench under the trees, opened the old guide and "
    "read aloud the page about {name} until it got too dark.",
    "It took the two students most of a year to copy the drawings, to count every line in them "
    "and to compare their numbers with those that {name} had inspired.",
    "In the first week of the course the teacher showed us a film without any sound, and asked "
    "each of us to write down what it tells about {name} and why.",
    "The radio in the kitchen was still on when they came home, and a quiet voice was reading the "
    "news of the day, in which {name} was named more than once.",
)


def entities() -> list[Passage]:
    """The entities of all names."""
    return [
        entity_passage({"id": f"E{at}", "name": name, "description": text})
        for at, (name, text) in enumerate(NAMES.items())
    ]


def make_text(number: int) -> str:
    """A text of ten sentences, with ten names; each number has another one."""
    names = list(NAMES)
    lines = SENTENCES[number % len(SENTENCES) :] + SENTENCES[: number % len(SENTENCES)]
    chosen = [names[(number * 5 + 7 * at) % len(names)] for at in range(len(lines))]
    return " ".join(line.format(name=name) for line, name in zip(lines, chosen, strict=True))


def mean_tokens(model: OneGenModel, texts: Sequence[str]) -> float:
    """Tokens of a text."""
    return sum(map(model.count_tokens, texts)) / len(texts)
