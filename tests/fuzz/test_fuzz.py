"""A short look at what `python -m tests.fuzz` looks at for longer."""

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_and_hostile_content_is_taken_or_refused(name):
    counts = fuzz(name, examples=40)
    assert counts["taken"] + counts["refused"] >= 40
    assert counts["refused"]
