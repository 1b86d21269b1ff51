"""Asks a file of questions and keeps every event and ranking."""
