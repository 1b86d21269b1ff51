"""From the options of `onegen evaluate` to a run in its folder."""

from argparse import Namespace
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from onegen_model.checkpoint.fingerprint import weights_sha256
from onegen_model.cli.evaluate import SEARCHERS
from onegen_model.cli.index import Reading, grow
from onegen_model.errors import InvalidInputError
from onegen_model.evaluation.ask.harness import Asker, OnePass, ask
from onegen_model.evaluation.ask.pool import (
    digest,
    pieces,
    read_paragraphs,
    require_candidates,
    require_gold,
)
from onegen_model.evaluation.ask.questions import Question, spaced
from onegen_model.evaluation.ask.ranking import (
    PARAGRAPH,
    Embed,
    FilterOf,
    Ranker,
    among_candidates,
    asked_texts,
    everywhere,
    queries_of_questions,
    queries_of_spans,
)
from onegen_model.evaluation.ask.retrievers import (
    Bm25Retriever,
    EncoderRetriever,
    FixedQueryRetriever,
)
from onegen_model.evaluation.ask.run_folder import RunFolder, Settings
from onegen_model.evaluation.ask.sentence_encoder import SentenceEncoder
from onegen_model.evaluation.ask.zero_shot import ZeroShot, load_base
from onegen_model.events import Passage
from onegen_model.model import OneGenModel
from onegen_model.params import RetrievalParams, SamplingParams
from onegen_model.retrieval.index import Embedder, PassageIndex
from onegen_model.retrieval.protocol import Retriever

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel

# Enough passages to sort by length, and few enough for Ctrl-C.
_INDEX_BATCH = 128
_RANK_BATCH = 32


@dataclass(slots=True)
class Searchers:
    """Opens each searcher when it is first needed; all search the same passages."""

    model: OneGenModel
    passages: Sequence[Passage]
    index_path: Path
    encoder_folder: Path | None
    _open: dict[str, Retriever] = field(default_factory=dict)

    def open(self, name: str) -> Retriever:
        if name not in self._open:
            self._open[name] = self._build(name)
        return self._open[name]

    def _build(self, name: str) -> Retriever:
        if name == "bm25":
            return Bm25Retriever(self.passages)
        if name == "own":
            return grown(self.model, self.passages, self.index_path)
        encoder = SentenceEncoder(str(self.model.network.device), self.encoder_folder)
        path = self.index_path.with_name(f"{self.index_path.name}-{encoder.fingerprint[:8]}")
        return EncoderRetriever(encoder, grown(encoder, self.passages, path))

    def embed(self, name: str) -> Embed:
        """The vector with which a searcher is asked for a question; only our own has one."""
        if name != "own":
            return lambda _: array("f")
        return lambda text: self.model.embed_queries([text])[0]


def grown(embedder: Embedder, passages: Sequence[Passage], path: Path) -> PassageIndex:
    """The index of exactly these passages at `path`; what is missing is embedded and saved.

    Raises KeyboardInterrupt after Ctrl-C, when what was done is saved.
    """
    index = PassageIndex.load(embedder, path) if path.exists() else PassageIndex(embedder)
    wanted = {passage.id: (passage.title, passage.text) for passage in passages}
    found = {passage.id: (passage.title, passage.text) for passage in index.passages}
    if others := found.keys() - wanted.keys():
        raise InvalidInputError(
            f"{path} holds {len(others)} passages that the pool does not; expected those of the "
            "pool; choose another --index or --pool"
        )
    if found == wanted:
        index.add(passages)  # embeds nothing: what each is a piece of is said anew
        return index
    path.parent.mkdir(parents=True, exist_ok=True)
    if not grow(index, path, Reading(list(passages)), _INDEX_BATCH).is_whole:
        raise KeyboardInterrupt
    return index


@dataclass(frozen=True, slots=True)
class Run:
    """What one run asks, of whom, and where it is kept."""

    options: Namespace
    questions: Sequence[Question]
    model: OneGenModel
    searchers: Searchers
    searcher: str
    query: str

    @property
    def filter_of(self) -> FilterOf:
        return among_candidates if self.options.pool == "own" else everywhere

    @property
    def has_answers(self) -> bool:
        return bool(self.options.task != "retrieval")

    @property
    def searches(self) -> bool:
        return self.options.retrieval != "never" or self.options.zero_shot or not self.has_answers

    def settings(self) -> Settings:
        options, template = self.options, self.model.template
        names = ("max_new_tokens", "top_k", "max_retrievals", "retrieval")
        framed = self.has_answers and not options.zero_shot
        kind = "zero-shot" if options.zero_shot else "one-pass" if framed else "ranking"
        return Settings(
            task=options.task,
            pipeline=kind,
            fingerprint=self.model.fingerprint,
            dtype=str(self.model.network.dtype).removeprefix("torch."),
            searcher=_searcher_name(options, self.searcher),
            query=self.query,
            pool=options.pool,
            passages=digest(self.searchers.passages),
            frame=(template.answer_start, template.answer_end) if framed else None,
            params={name: getattr(options, name) for name in names} if self.has_answers else {},
            note={
                "onegen": version("onegen"),
                "checkpoint": options.model or "default",
                "questions": str(options.questions),
                "corpus": options.corpus or options.index,
                "passages": len(self.searchers.passages),
            },
        )

    def asker(self) -> Asker:
        """Opens the searcher: a corpus to embed is no part of what a question costs."""
        options = self.options
        if self.searches:
            self.searchers.open(self.searcher)
        sampling = SamplingParams(max_new_tokens=options.max_new_tokens)
        if options.zero_shot:
            retriever = self.searchers.open(self.searcher)
            return ZeroShot(self.model, retriever, sampling, options.top_k, self.filter_of)
        return OnePass(self.model, self._retriever, sampling, self._retrieval)

    def _retrieval(self, question: Question) -> RetrievalParams:
        options = self.options
        return RetrievalParams(
            options.retrieval, options.top_k, options.max_retrievals, self.filter_of(question)
        )

    def _retriever(self, question: Question) -> Retriever | None:
        if not self.searches:
            return None
        retriever = self.searchers.open(self.searcher)
        if self.query == "span":
            return retriever
        vector = self.searchers.embed(self.searcher)(question.text)
        return FixedQueryRetriever(retriever, question.text, vector if len(vector) else None)

    def ranked_by(self) -> Iterable[tuple[str, str]]:
        """Names of searchers and what they are asked with: the run's own, then the baselines."""
        wanted = [(self.searcher, self.query)] if self.searches else []
        spans = ["span"] if self.searches and self.query == "span" else []
        for name in _baselines(self.options):
            wanted += [(name, query) for query in ["question", *spans]]
        return dict.fromkeys(wanted)

    def ranker(self, name: str, query: str) -> Ranker:
        """Opens the searcher."""
        embed, filter_of = self.searchers.embed(name), self.filter_of
        queries = (
            queries_of_spans(filter_of)
            if query == "span"
            else queries_of_questions(filter_of, embed)
        )
        label = _searcher_name(self.options, name)
        return Ranker(label, query, self.searchers.open(name), queries)


def carry_out(options: Namespace, everything: Sequence[Question], load_model: "LoadModel") -> None:
    """Ask and rank whatever is not in the folder yet."""
    run = _prepare(options, everything, load_model)
    folder = RunFolder.create(Path(options.out), run.settings())
    if run.has_answers:
        traces = folder.traces()
        missing = [question for question in run.questions if question.id not in traces]
        for some in ask(run.asker(), missing, options.batch) if missing else ():
            folder.add_traces(some)
    _rank(run, folder)


def _rank(run: Run, folder: RunFolder) -> None:
    traces = folder.traces()
    # Not done is what was ranked for another text: of a question that was asked again, or edited.
    done = {(one.searcher, one.query, one.question_id): one.asked for one in folder.rankings()}
    for name, query in run.ranked_by():
        label = _searcher_name(run.options, name)
        missing = [
            one
            for one in run.questions
            if done.get((label, query, one.id)) != asked_texts(query, one, traces.get(one.id))
        ]
        if not missing:  # A searcher may have a whole corpus to load.
            continue
        ranker = run.ranker(name, query)
        bar = tqdm(missing, desc=f"{label} ({query})", disable=None, leave=False)
        found = (ranker.rank(question, traces.get(question.id)) for question in bar)
        while some := list(islice(found, _RANK_BATCH)):
            folder.add_rankings(some)


def _prepare(options: Namespace, everything: Sequence[Question], load_model: "LoadModel") -> Run:
    questions = spaced(everything, options.limit)
    baselines = _baselines(options)
    if options.zero_shot:
        model = load_base(options.model, options.dtype)
        searcher, query = options.searcher or "minilm", "question"
    else:
        model = load_model(options.model, options.dtype)
        searcher = options.searcher or "own"
        query = "question" if options.task == "retrieval" else options.query or "span"
    index_path = Path(options.index or Path(options.out) / "index")
    encoder = Path(options.encoder) if options.encoder else None
    searchers = Searchers(model, (), index_path, encoder)
    run = Run(options, questions, model, searchers, searcher, query)
    if run.searches or baselines:
        if options.pool == "own":
            require_candidates(questions)
        searchers.passages = _passages(options, model, everything)
        require_gold(questions, searchers.passages)
    return run


def _passages(
    options: Namespace, model: OneGenModel, questions: Sequence[Question]
) -> Sequence[Passage]:
    if options.corpus:
        return pieces(model, read_paragraphs(Path(options.corpus), questions, options.pool))
    if not options.index or options.pool == "candidates":
        raise InvalidInputError(
            f"No corpus for --pool {options.pool}; expected passages to search; add --corpus (or, "
            "to search all of it, --index)"
        )
    passages = PassageIndex.load(model, options.index).passages
    if options.pool == "own" and not all(PARAGRAPH in one.metadata for one in passages):
        raise InvalidInputError(
            f"{options.index} does not say of which paragraph its passages are; expected an index "
            "that `onegen evaluate` made for --pool own; add --corpus, and let it make one"
        )
    return passages


def _baselines(options: Namespace) -> list[str]:
    names = [name for name in options.baselines.split(",") if name and name != "none"]
    if unknown := [name for name in names if name not in SEARCHERS]:
        raise InvalidInputError(
            f"baselines={options.baselines}; expected names of {', '.join(SEARCHERS)}, with commas "
            f"between; correct {unknown[0]!r}"
        )
    return names


def _searcher_name(options: Namespace, searcher: str) -> str:
    return _encoder_name(options.encoder) if searcher == "minilm" and options.encoder else searcher


@cache
def _encoder_name(folder: str) -> str:
    """Its folder's name and which weights they are: folders of many encoders are named alike."""
    return f"{Path(folder).resolve().name} {weights_sha256(Path(folder))[:8]}"
