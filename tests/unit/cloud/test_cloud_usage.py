import os
import time

from infra.cloud.usage import used


def test_what_a_process_uses_is_what_the_kernel_says() -> None:
    before, resident = used(os.getpid())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after, _ = used(os.getpid())
    assert after - before >= 0.05
    assert 1 << 20 < resident < 1 << 36


def test_a_process_that_is_gone_uses_nothing() -> None:
    assert used(2**22 + 1) == (0.0, 0)
