"""`onegen synthesize`: questions with answers, made from the passages of an index."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING

from onegen_model.cli.interrupts import INTERRUPTED, Interrupts
from onegen_model.cli.options import add_number
from onegen_model.errors import InvalidInputError

if TYPE_CHECKING:
    from onegen_model.cli import LoadModel
    from onegen_model.synthesis.candidates import QuestionWriter
    from onegen_model.synthesis.job import SynthesisReport


def add_synthesize(commands: "_SubParsersAction[ArgumentParser]", common: ArgumentParser) -> None:
    """Add the parser of `onegen synthesize`."""
    parser = commands.add_parser(
        "synthesize",
        parents=[common],
        description="Write questions with answers about the passages of an index, for `onegen "
        "evaluate` and `onegen train`: by rules for English, or, better, by a language model "
        "behind an OpenAI-compatible endpoint. Each question is asked again, and kept where its "
        "passage is found and the answer matches. Run the same command again to continue after "
        "Ctrl-C.",
    )
    parser.add_argument("index", metavar="DIR", help="what `onegen index` has written")
    parser.add_argument("--out", required=True, metavar="FILE", help="a new .jsonl file")
    parser.add_argument("--force", action="store_true", help="replace FILE, finished or not")
    add_number(parser, "--count", None, "questions to keep (default: all that can be made)")
    add_number(parser, "--per-passage", 3, "questions per passage")
    add_number(parser, "--seed", 0, "draws the order of the passages")
    parser.add_argument(
        "--keep",
        choices=("answered", "found", "all"),
        default="answered",
        help="questions to keep: answered right when they are asked again, those whose passage is "
        "found, or all (default: answered)",
    )
    add_number(parser, "--top-k", 2, "passages per retrieval, when asked again")
    add_number(parser, "--batch", 16, "questions asked at a time")
    parser.add_argument(
        "--llm-url", metavar="URL", help="endpoint, as in http://localhost:8000/v1 (default: rules)"
    )
    parser.add_argument("--llm-model", metavar="NAME", help="its model")
    parser.add_argument(
        "--llm-key-env", metavar="VAR", help="environment variable that holds its key"
    )
    parser.set_defaults(run=run_synthesize)


def run_synthesize(options: Namespace, load_model: "LoadModel") -> int:
    """Write the file, and report what was kept and left out."""
    from onegen_model.evaluation.documents.evaluation import read_index_passages
    from onegen_model.finetune.mining.resumable_file import PartialFile
    from onegen_model.retrieval.index import PassageIndex
    from onegen_model.synthesis.job import SynthesisSettings, synthesize

    settings = SynthesisSettings(
        count=options.count,
        per_passage=options.per_passage,
        seed=options.seed,
        keep=options.keep,
        top_k=options.top_k,
        batch=options.batch,
        force=options.force,
    )
    writer, out = _writer(options), Path(options.out)
    PartialFile.require_place(out, force=options.force)
    read_index_passages(Path(options.index))  # before the model is loaded, which takes seconds
    model = load_model(options.model, options.dtype)
    index = PassageIndex.load(model, options.index)
    with Interrupts() as interrupts:
        report = synthesize(model, index, writer, out, settings, lambda: interrupts.requested)
    if not report.is_whole:
        sys.stderr.write(
            f"onegen: stopped; {report.kept} questions of {report.passages} passages are in "
            f"{out}.partial; run the same command again to continue\n"
        )
        return INTERRUPTED
    _report(report, as_json=options.json)
    return 0


def _writer(options: Namespace) -> "QuestionWriter":
    from onegen_model.synthesis.endpoint import Endpoint, EndpointWriter
    from onegen_model.synthesis.rules import RuleWriter

    if options.llm_url is None:
        if options.llm_model or options.llm_key_env:
            raise InvalidInputError(
                "--llm-model or --llm-key-env without --llm-url; expected the endpoint; add "
                "--llm-url, or leave them out to write by rules"
            )
        return RuleWriter()
    key = ""
    if options.llm_key_env and not (key := os.environ.get(options.llm_key_env, "")):
        raise InvalidInputError(
            f"The environment variable {options.llm_key_env} is not set; expected the key of "
            f"{options.llm_url}; set it, or leave --llm-key-env out"
        )
    endpoint = Endpoint(options.llm_url, options.llm_model or "", key)
    return EndpointWriter(endpoint, options.per_passage, options.seed)


def _report(report: "SynthesisReport", *, as_json: bool) -> None:
    if as_json:
        plain = {
            "file": str(report.path),
            "kept": report.kept,
            "written": report.candidates,
            "passages": report.passages,
            "rejected": report.rejected,
        }
        sys.stdout.write(json.dumps(plain, ensure_ascii=False) + "\n")
        return
    lines = [
        f"{report.path}: {report.kept} questions, of {report.candidates} written about "
        f"{report.passages} of {report.total} passages"
    ]
    lines += [f"  left out: {number} ({reason})" for reason, number in report.rejected.items()]
    sys.stdout.write("\n".join(lines) + "\n")
