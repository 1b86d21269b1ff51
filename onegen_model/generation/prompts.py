"""From a question and what came before it to the prompt of a request."""

from onegen_model.errors import InvalidInputError
from onegen_model.inputs import Prompt
from onegen_model.places import held_ids
from onegen_model.transcript.answer import Answer, Span
from onegen_model.transcript.conversation import Conversation, Question, conversation_ids
from onegen_model.transcript.renderer import Renderer


def make_prompt(renderer: Renderer, question: Question, history: Answer | None) -> Prompt:
    """The ids of the prompt, and what they hold: passages, and retrievals of an unfinished answer.

    Raises InvalidInputError where the template has no place for what came before.
    """
    if isinstance(question, Conversation):
        if history is not None:
            raise InvalidInputError(
                "A conversation and a history; expected one of them; leave `history` out"
            )
        return Prompt(
            _conversation_ids(renderer, question),
            question.question,
            passage_ids=held_ids(
                passage
                for message in question.messages
                for segment in message.segments
                for passage in segment.passages
            ),
            retrievals=sum(segment.retrieves for segment in question.opening),
        )
    if history is None:
        return Prompt(renderer.question_ids(question), question)
    ids = [*history.ids, *renderer.next_question_ids(question, history.ids)]
    return Prompt(ids, question, passage_ids=history.passage_ids)


def opening_spans(renderer: Renderer, question: Question) -> list[Span]:
    """The unfinished answer that a conversation ends with, cut where passages were inserted."""
    segments = question.opening if isinstance(question, Conversation) else ()
    spans = [Span(one.text, tuple(renderer.own_ids(one))) for one in segments]
    if not segments or segments[-1].retrieves:
        spans.append(Span())
    return spans


def _conversation_ids(renderer: Renderer, conversation: Conversation) -> list[int]:
    if renderer.template.prompt and len(conversation.messages) == 1 and not conversation.tools:
        return renderer.question_ids(conversation.question)
    renderer.require_turns()
    return conversation_ids(renderer, conversation)
