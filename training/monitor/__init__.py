"""Captured traffic against the rows that the model learnt from: drift, and quality where the truth is known."""
