from __future__ import annotations

import gc
from contextlib import suppress

import pytest

from streamwave.util.loading import without_collecting


@pytest.mark.parametrize("error", [None, ImportError])
def test_garbage_is_collected_again_afterwards(error: type[Exception] | None) -> None:
    with suppress(ImportError), without_collecting():
        assert not gc.isenabled()
        if error is not None:
            raise error
    assert gc.isenabled() and gc.get_freeze_count() > 0
    gc.unfreeze()
