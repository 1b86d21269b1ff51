"""Asks the questions of a file and keeps every event and ranking."""
