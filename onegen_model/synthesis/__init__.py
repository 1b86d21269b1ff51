"""Questions with answers, made from the passages of an index and checked by asking them again.

A writer is any object with a `name` and `write(passage) -> list[Candidate]`; `RuleWriter` and
`EndpointWriter` are two.

```python
index = PassageIndex.load(model, "my.index")
report = synthesize(model, index, RuleWriter(), Path("qa.jsonl"), SynthesisSettings(count=50))
```
"""

from onegen_model.synthesis.candidates import Candidate, QuestionWriter
from onegen_model.synthesis.endpoint import Endpoint, EndpointError, EndpointWriter
from onegen_model.synthesis.job import SynthesisReport, SynthesisSettings, synthesize
from onegen_model.synthesis.rules import RuleWriter

__all__ = [
    "Candidate",
    "Endpoint",
    "EndpointError",
    "EndpointWriter",
    "QuestionWriter",
    "RuleWriter",
    "SynthesisReport",
    "SynthesisSettings",
    "synthesize",
]
