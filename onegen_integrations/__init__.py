"""Adapters to other frameworks. They translate; what computes belongs to onegen_model."""
