"""A small classifier for the equations that look into a network."""

from collections.abc import Callable

import pytest

from tests.plugins.recording import Recording, recording


@pytest.fixture
def make_model() -> Callable[[int], Recording]:
    """Seed -> a model in double precision, with running statistics that are not 0 and 1."""
    return recording
