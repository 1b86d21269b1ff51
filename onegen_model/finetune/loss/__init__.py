"""The losses as pure functions, and the objective that computes both in one forward."""
