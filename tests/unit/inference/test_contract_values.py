from __future__ import annotations

from inference.contract.schema import Rows
from inference.contract.transform import Transform
from tests.inference_support import artifacts


def test_a_transform_that_was_used_still_equals_one_that_was_not() -> None:
    used, fresh = artifacts.plain_transform(3), artifacts.plain_transform(3)
    used.apply(Rows.alone(artifacts.np.zeros((2, 4))))
    assert used == fresh
    assert hash(used) == hash(fresh)
    assert used == Transform.model_validate_json(used.model_dump_json())
    assert used != used.model_copy(update={"target_mean": 1.0})
    assert used != "a transform"
