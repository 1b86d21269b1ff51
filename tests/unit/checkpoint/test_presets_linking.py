"""The entity-linking preset: the published tokens and ids, and a text that is linked with them."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from onegen_model import LinkingParams, OneGenModel, Passage, PassageIndex, Template
from onegen_model.checkpoint.presets import ENTITY_LINKING
from onegen_model.errors import CheckpointError, InvalidInputError
from onegen_model.linking.reading import WindowReader
from onegen_model.linking.tagging import WritingLimits
from onegen_model.linking.writers import DetectingWriter
from onegen_model.transcript.linking_format import LinkingFormat
from onegen_model.transcript.linking_renderer import NO_TOKEN, LinkingRenderer
from onegen_model.transcript.tokens import ControlTokens
from tests.support.published import SHIFT, ids_of, publish

# Written out once more, from the published configuration: a slip in the preset must show.
PROMPT = (
    "[INST] You are good at mention detection. Identify and extract mentions of entities from the "
    "text. Please output the original text with annotations. Here, the annotation for each mention "
    "should be formatted as `<MENTION>{mention in text}</MENTION>` when displayed. \n\nTEST TEXT:\n"
)
# As in `added_tokens.json` of the published files, and as the published code would number them.
ORDERS = [("[SE]", "[LK]", "[_CONTINUE_]"), ("[_CONTINUE_]", "[SE]", "[LK]")]
ENTITIES = [
    Passage("Q1", "town near the river", "Alba"),
    Passage("Q2", "novel by Ada Wrenfield", "The Mill"),
    Passage("Q3", "Ondrel"),
]
TEXT = (
    "Ada lived in  Alba;\n\nshe wrote <MENTION>The Mill</MENTION>[LK] there, the 東京 🙂 novel.\n"
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("presets") / "linking", ORDERS[0])


@pytest.fixture(scope="module")
def model(published: Path) -> OneGenModel:
    """It opens and closes mentions now and then."""
    loaded = OneGenModel.from_pretrained(published)
    bound = LinkingRenderer(loaded.renderer)
    tags = [bound.opening(bound.tokens("Ada"), 0).ids[0], bound.closing[0]]
    loaded.network.get_output_embeddings().weight.data[tags] *= 4
    return loaded


@pytest.fixture(scope="module")
def theirs(published: Path) -> Tokenizer:
    """The tokenizer of the files alone, in which the original reads a text unchanged."""
    return Tokenizer.from_file(str(published / "tokenizer.json"))


@pytest.fixture(scope="module")
def entities(model: OneGenModel) -> PassageIndex:
    return PassageIndex.build(model, ENTITIES)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("prefix_space", [False, True])
def test_ids_are_found_by_name(
    tmp_path: Path, order: tuple[str, str, str], prefix_space: bool
) -> None:
    folder = publish(tmp_path / "el", order, prefix_space=prefix_space)
    loaded = OneGenModel.from_pretrained(folder, preset="onegen-entity-linking")
    assert loaded.template == ENTITY_LINKING.template
    assert loaded.can_link
    first = loaded.renderer.tokenizer.convert_tokens_to_ids(SHIFT[-1]) + 1
    numbers = {token: first + at for at, token in enumerate(order)}
    assert loaded.renderer.query_id == numbers["[LK]"]
    assert loaded.renderer.passage_id == numbers["[SE]"]
    bound = LinkingRenderer(loaded.renderer)
    assert bound.closing[bound.link_place :] == (numbers["[LK]"], numbers["[_CONTINUE_]"])
    prompt = bound.prompt_ids("Ada.")
    assert loaded.renderer.tokenizer.decode(prompt) == f"{PROMPT}Ada. [/INST]"
    assert 1 not in prompt, "no BOS"


def test_a_text_has_the_ids_of_the_published_training_data(
    model: OneGenModel, theirs: Tokenizer
) -> None:
    bound = LinkingRenderer(model.renderer)
    text = "Alba left Ada Wrenfield and Ondrel."
    spans = [(text.index(name), text.index(name) + len(name)) for name in ("Alba", "Ada", "Ond")]
    tokens = bound.cut(bound.tokens(text), spans)
    marked = bound.marked(tokens, [found for one in spans if (found := tokens.find(one))])
    mark = "<MENTION>{}</MENTION>[LK][_CONTINUE_]".format
    written = f" {mark('Alba')} left {mark('Ada')} Wrenfield and {mark('Ond')}rel."
    assert list(marked.ids) == ids_of(theirs, written)
    assert bound.prompt_ids(text) == ids_of(theirs, f"{PROMPT}{text} [/INST]")
    assert bound.end_id == theirs.token_to_id("</s>")
    assert [marked.ids[at] for at in marked.links] == [model.renderer.query_id] * 3
    kept = [at for at in marked.tokens if at != NO_TOKEN]
    assert sorted(set(kept)) == list(range(len(tokens)))


def test_an_entity_is_read_behind_bos_at_its_token(model: OneGenModel, theirs: Tokenizer) -> None:
    expected = ids_of(theirs, "<s>Alba\ntown near the river[SE]")
    assert model.renderer.embed_ids(ENTITIES[0]) == expected
    assert expected[0] == 1
    evil = model.renderer.embed_ids(Passage("e", "a [SE] and [LK]"))
    assert [one for one in evil if one in model.renderer.control_ids] == [1, expected[-1]]


def test_a_text_is_linked_and_not_changed(model: OneGenModel, entities: PassageIndex) -> None:
    linked = model.link(TEXT, entities=entities)
    assert linked.text == TEXT
    assert len(linked.mentions) > 3
    for one in linked.mentions:
        assert TEXT[one.start : one.end] == one.surface == one.surface.strip() != ""
        assert one.entity == one.candidates[0]
        assert {hit.passage.id for hit in one.candidates} == {"Q1", "Q2", "Q3"}
    ends = [(one.start, one.end) for one in linked.mentions]
    assert ends == sorted(ends)
    found = asyncio.run(model.alink([TEXT, "Ada"], entities=entities))[0]
    # Scores may differ in their last digits, because rows of a batch are summed otherwise.
    assert [(one.start, one.end, one.entity.passage.id) for one in found.mentions] == [
        (one.start, one.end, one.entity.passage.id) for one in linked.mentions
    ]
    for mine, other in zip(found.mentions, linked.mentions, strict=True):
        assert [hit.passage for hit in mine.candidates] == [hit.passage for hit in other.candidates]
        scores = [hit.score for hit in other.candidates]
        assert [hit.score for hit in mine.candidates] == pytest.approx(scores, abs=1e-5)


def test_the_token_behind_a_link_is_forced(
    model: OneGenModel, entities: PassageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[int, list[int]] = {}
    accept = DetectingWriter.accept

    def keep(writer: DetectingWriter, preferred: list[bool]) -> object:
        plan = writer._plan
        assert plan is not None
        ids = read.setdefault(id(writer), [])
        ids[plan.start :] = plan.ids
        return accept(writer, preferred)

    monkeypatch.setattr(DetectingWriter, "accept", keep)
    linked = model.link(TEXT, entities=entities)
    ((*ids,),) = read.values()
    link, after = LinkingRenderer(model.renderer).closing[-2:]
    behind = [ids[at + 1] for at, one in enumerate(ids[:-1]) if one == link]
    assert len(behind) >= len(linked.mentions) - 1 > 2
    assert set(behind) == {after}


@pytest.mark.parametrize("draft", [1, 3, 16])
def test_drafts_find_what_one_token_at_a_time_finds(model: OneGenModel, draft: int) -> None:
    def write(limits: WritingLimits) -> tuple[list, DetectingWriter]:
        bound = LinkingRenderer(model.renderer)
        writer = DetectingWriter(bound, bound.tokens(TEXT), bound.prompt_ids(TEXT), limits)
        found = [one for step in WindowReader(model.network).read([writer]) for one in step]
        return found, writer

    one_by_one, slow = write(WritingLimits(0))
    drafted, fast = write(WritingLimits(draft))
    assert [one.mention for one in drafted] == [one.mention for one in one_by_one]
    assert len(drafted) > 3
    assert fast.counts.length == slow.counts.length
    assert fast.counts.steps < slow.counts.steps
    for mine, other in zip(drafted, one_by_one, strict=True):
        np.testing.assert_allclose(mine.embedding, other.embedding, atol=1e-4)


def test_given_mentions_are_linked(model: OneGenModel, entities: PassageIndex) -> None:
    spans = [(TEXT.index(name), TEXT.index(name) + len(name)) for name in ("Ada", "東京", "🙂")]
    linked = model.link(TEXT, entities=entities, linking=LinkingParams(mentions=spans))
    assert [(one.start, one.end) for one in linked.mentions] == spans


def test_it_answers_no_question(model: OneGenModel) -> None:
    async def wait() -> None:
        await model.agenerate("Who?")

    answers = [
        lambda: model.generate("Who?"),
        lambda: model.stream("Who?"),
        lambda: model.embed_queries(["Who?"]),
        lambda: model.count_prompt("Who?"),
        lambda: model.max_context,
        lambda: asyncio.run(wait()),
    ]
    for one in answers:
        with pytest.raises(
            CheckpointError, match=r"answers no questions; exp.*from_pretrained\(\)"
        ):
            one()


def test_a_saved_copy_links_the_same(
    model: OneGenModel, entities: PassageIndex, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    again = OneGenModel.from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.link(TEXT, entities=entities) == model.link(TEXT, entities=entities)
    file = tmp_path / "onegen.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    plain["template"]["embedded"] = "Describe it with '[SE]': {passage}"
    file.write_text(json.dumps(plain), encoding="utf-8")
    ids = OneGenModel.from_pretrained(tmp_path).renderer.embed_ids(ENTITIES[2])
    assert ids.count(model.renderer.passage_id) == 2


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tags": "words"}, "expected 'tokens' or 'text'"),
        ({"link": ""}, "linking.link is empty"),
        ({"prompt": "Link:"}, r"expected \{question\} in it"),
    ],
)
def test_a_format_that_cannot_be_written_is_refused(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        LinkingFormat(**changes)


def test_half_a_frame_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="expected both, or neither"):
        ControlTokens(passage_end="")
    assert Template(tokens=ControlTokens("[Q]", "[D]", "", "")).added_tokens.keys() == {
        "[Q]",
        "[D]",
    }
