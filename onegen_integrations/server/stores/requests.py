"""Bodies of requests about vector stores. Unknown parameters are ignored, as OpenAI does."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, StrictInt, field_validator

from onegen_integrations.server.errors import ParameterError

Name = Annotated[str, Field(max_length=256)]
Key = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=512)]
Number = Annotated[float, Field(allow_inf_nan=False)]
FileIds = Annotated[list[str], Field(max_length=2000)]
Metadata = Annotated[dict[Key, Text], Field(max_length=16)]


def _require_plain(value: Any) -> Any:
    """Before the kinds are tried, each of which would complain by itself."""
    if not isinstance(value, str | int | float):
        raise ValueError("a value is a text, a number or a truth value")
    return value


Value = Annotated[StrictBool | StrictInt | Number | Text, BeforeValidator(_require_plain)]
Attributes = Annotated[dict[Key, Value], Field(max_length=16)]


class StaticSizes(BaseModel):
    """Lengths in tokens."""

    max_chunk_size_tokens: Annotated[int, Field(ge=16)]
    chunk_overlap_tokens: Annotated[int, Field(ge=0)] = 0


class Chunking(BaseModel):
    """How a file is split."""

    type: Literal["auto", "static"]
    static: StaticSizes | None = None

    def max_tokens(self, longest: int) -> int | None:
        """The longest passage, None: that of the model; raises ParameterError."""
        param = "chunking_strategy.static"
        if self.type == "auto" or self.static is None:
            return None
        if self.static.chunk_overlap_tokens:
            raise ParameterError(
                f"chunk_overlap_tokens={self.static.chunk_overlap_tokens}; expected 0, because "
                "passages do not overlap: an answer reads the neighbours where it needs them; "
                "change it to 0",
                param=f"{param}.chunk_overlap_tokens",
            )
        if self.static.max_chunk_size_tokens > longest:
            raise ParameterError(
                f"max_chunk_size_tokens={self.static.max_chunk_size_tokens}; expected at most "
                f"{longest}, the longest passage of the model; lower it",
                param=f"{param}.max_chunk_size_tokens",
            )
        return self.static.max_chunk_size_tokens


class Permanent(BaseModel):
    """What is made here stays until it is deleted."""

    expires_after: Any = None

    @field_validator("expires_after")
    @classmethod
    def _refuse(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("nothing expires on this server")
        return value


class CreateStore(Permanent):
    """POST /v1/vector_stores."""

    name: Name | None = None
    description: Text | None = None
    file_ids: FileIds = []
    metadata: Metadata | None = None
    chunking_strategy: Chunking | None = None


class UpdateStore(Permanent):
    """POST /v1/vector_stores/{id}; what is left out stays."""

    name: Name | None = None
    metadata: Metadata | None = None


class AddFile(BaseModel):
    """POST /v1/vector_stores/{id}/files, and an item of `files` of a batch."""

    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: Chunking | None = None


def add_each(
    file_ids: list[str], attributes: Attributes | None = None, chunking: Chunking | None = None
) -> list[AddFile]:
    """The same for each of several files; all is checked already."""
    return [
        AddFile.model_construct(file_id=one, attributes=attributes, chunking_strategy=chunking)
        for one in file_ids
    ]


class UpdateFile(BaseModel):
    """POST /v1/vector_stores/{id}/files/{file_id}."""

    attributes: Attributes | None


class AddBatch(BaseModel):
    """POST /v1/vector_stores/{id}/file_batches: `file_ids`, or `files`."""

    file_ids: FileIds | None = None
    files: Annotated[list[AddFile], Field(max_length=2000)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: Chunking | None = None

    def each(self) -> list[AddFile]:
        """The files one by one; raises ParameterError unless they are given in one way."""
        if (self.file_ids is None) == (self.files is None) or not (self.file_ids or self.files):
            raise ParameterError(
                "The batch has no files, or both file_ids and files; expected one of them; leave "
                "the other out",
                param="file_ids",
            )
        if self.files is not None:
            return self.files
        return add_each(self.file_ids or [], self.attributes, self.chunking_strategy)


class RankingOptions(BaseModel):
    """`ranker` is ignored: passages are ranked by the model that embeds them."""

    score_threshold: Number | None = None


class Search(BaseModel):
    """POST /v1/vector_stores/{id}/search: one query or several; `rewrite_query` is ignored."""

    query: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, max_length=32),
        BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
    ]
    filters: Any = None
    max_num_results: Annotated[int, Field(ge=1, le=50)] = 10
    ranking_options: RankingOptions | None = None
