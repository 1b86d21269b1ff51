"""A small encyclopaedia of an invented world, written for this project.

`facts/` holds what is so, and the sentences that were written for single articles; `phrases.yaml`
the sentences by kind; `questions.yaml`, `mentions.yaml` and `claims.yaml` what is asked and
labelled. Everything in the files that are made of it follows from the facts, so that articles,
answers, gold paragraphs, offsets and labels cannot disagree; facts that cannot be true together
are refused. No name in it is meant to be the name of anybody or anything real.
"""
