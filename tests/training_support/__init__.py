"""Baselines and captured traffic for tests of the monitor."""
