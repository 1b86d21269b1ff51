"""The methods of a model that link entities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

from onegen_model.errors import InvalidInputError
from onegen_model.linking.job import Job, Linker, LinkingTask
from onegen_model.linking.mentions import LinkedText
from onegen_model.linking.params import LinkingParams
from onegen_model.linking.search import require_entities, require_own_entities
from onegen_model.linking.streams import AsyncMentionStream, MentionStream, arun, run
from onegen_model.retrieval.protocol import AnyRetriever
from onegen_model.runtime import Runtime
from onegen_model.transcript.linking_renderer import LinkingRenderer
from onegen_model.transcript.renderer import Renderer
from onegen_model.transcript.text_checks import require_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The parameters of all texts, or those of each.
Linking = LinkingParams | Sequence[LinkingParams] | None


class LinksEntities:
    """A mixin for a model with a network and a renderer.

    `entities` is an index of entities (see `entity_passage`) that the same model has embedded, or
    any other retriever of them. All methods raise CheckpointError where the checkpoint was not
    trained to link, and InvalidInputError before any work for a text, a mention or entities that
    cannot be used.
    """

    network: "PreTrainedModel"
    renderer: Renderer
    fingerprint: str
    _runtime: Runtime

    _linking: LinkingRenderer | None = None

    @property
    def can_link(self) -> bool:
        """Whether the checkpoint was trained to link entities."""
        return self.renderer.template.linking is not None

    @overload
    def link(  # type: ignore[overload-overlap]
        self, texts: str, *, entities: AnyRetriever, linking: Linking = None, progress: bool = False
    ) -> LinkedText: ...
    @overload
    def link(
        self,
        texts: Sequence[str],
        *,
        entities: AnyRetriever,
        linking: Linking = None,
        progress: bool = False,
    ) -> list[LinkedText]: ...
    def link(
        self,
        texts: str | Sequence[str],
        *,
        entities: AnyRetriever,
        linking: Linking = None,
        progress: bool = False,
    ) -> Any:
        """The mentions of a text, or of a list of texts, which are read side by side.

        The text itself never changes. `linking` may be a list, with parameters for each text.
        """
        tasks = self._tasks(texts, entities, linking, sync=True)
        linked = run(self._job(tasks, progress=progress), entities)
        return linked[0] if isinstance(texts, str) else linked

    @overload
    async def alink(  # type: ignore[overload-overlap]
        self, texts: str, *, entities: AnyRetriever, linking: Linking = None, progress: bool = False
    ) -> LinkedText: ...
    @overload
    async def alink(
        self,
        texts: Sequence[str],
        *,
        entities: AnyRetriever,
        linking: Linking = None,
        progress: bool = False,
    ) -> list[LinkedText]: ...
    async def alink(
        self,
        texts: str | Sequence[str],
        *,
        entities: AnyRetriever,
        linking: Linking = None,
        progress: bool = False,
    ) -> Any:
        """Like `link`, without blocking the event loop."""
        tasks = self._tasks(texts, entities, linking)
        linked = await arun(self._job(tasks, progress=progress), entities)
        return linked[0] if isinstance(texts, str) else linked

    def stream_link(
        self, text: str, *, entities: AnyRetriever, linking: LinkingParams | None = None
    ) -> MentionStream:
        """The mentions of one text, each as soon as it is closed; closing the stream ends the work.

        The stream's `linked` is the whole result.
        """
        tasks = self._tasks(require_text(text, "The text"), entities, linking, sync=True)
        return MentionStream(self._job(tasks, live=True), entities)

    def astream_link(
        self, text: str, *, entities: AnyRetriever, linking: LinkingParams | None = None
    ) -> AsyncMentionStream:
        """Like `stream_link`, for `async for`."""
        tasks = self._tasks(require_text(text, "The text"), entities, linking)
        return AsyncMentionStream(self._job(tasks, live=True), entities)

    def _job(
        self, tasks: Sequence[LinkingTask], *, live: bool = False, progress: bool = False
    ) -> Job:
        linker = Linker(self.network, self._linking_renderer())
        return linker.link(tasks, live=live, progress=progress)

    def _linking_renderer(self) -> LinkingRenderer:
        """Made when first needed; raises CheckpointError for a checkpoint that does not link."""
        if self._linking is None:
            self._linking = LinkingRenderer(self.renderer)
        return self._linking

    def _tasks(
        self, texts: object, entities: object, linking: object, *, sync: bool = False
    ) -> list[LinkingTask]:
        """The checked arguments."""
        self._runtime.require_own_process()
        self._linking_renderer()
        many = [texts] if isinstance(texts, str) else texts
        if not isinstance(many, list | tuple):
            raise InvalidInputError(
                f"texts is of type {type(texts).__name__}; expected a string, or a list of them; "
                "change texts"
            )
        checked = [
            require_text(one, "The text" if many is not texts else f"texts[{at}]")
            for at, one in enumerate(many)
        ]
        params = _params(linking, len(checked))
        require_entities(entities, params, sync=sync)
        require_own_entities(entities, self.fingerprint)
        return [LinkingTask(*pair) for pair in zip(checked, params, strict=True)]


def _params(linking: object, count: int) -> list[LinkingParams]:
    """The parameters of each text."""
    if linking is None:
        linking = LinkingParams()
    if isinstance(linking, LinkingParams):
        return [linking] * count
    if not isinstance(linking, list | tuple) or not all(
        isinstance(one, LinkingParams) for one in linking
    ):
        raise InvalidInputError(
            f"linking is of type {type(linking).__name__}; expected LinkingParams, or a list of "
            "them; change linking"
        )
    if len(linking) != count:
        raise InvalidInputError(
            f"linking has {len(linking)} parameters for {count} texts; expected as many, or one "
            "for all; change linking"
        )
    return list(linking)
