"""Runs requests: streams of events, one scheduler per engine, retrievals in between."""
