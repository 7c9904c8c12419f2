"""Small models and real server processes for tests: `from tests.inference_support import artifacts, servers`."""
