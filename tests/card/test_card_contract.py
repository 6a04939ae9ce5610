"""What every device promises, asked of a real card: all the questions of tests/device/test_contract.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.card.cases import CASES, on_card
from tests.device import test_contract
from tests.device.cases import Case
from tpu_worker.devices import Device

pytestmark = pytest.mark.card

# The same functions, answered by the fixtures below instead of those of their own module.
globals().update({name: test for name, test in vars(test_contract).items() if name.startswith("test_")})

ONE_EACH = [case for case in CASES if case.model == "tiny_fp32_1b"]
OF_FOUR = [case for case in CASES if case.spec.batch == 4]


def chosen(request: pytest.FixtureRequest, card_id: int) -> Case:
    """The case of a parameter on the card, if its library is there."""
    return on_card(request.param, card_id)


case = pytest.fixture(chosen, scope="module", params=CASES, ids=str, name="case")
one_of_each = pytest.fixture(chosen, scope="module", params=ONE_EACH, ids=str, name="one_of_each")
of_four = pytest.fixture(chosen, scope="module", params=OF_FOUR, ids=str, name="of_four")
of_file = pytest.fixture(chosen, scope="module", params=ONE_EACH, ids=str, name="of_file")
native = pytest.fixture(chosen, scope="module", params=ONE_EACH, ids=str, name="native")


@pytest.fixture(scope="module")
def device(case: Case) -> Iterator[Device]:
    opened = case.open()
    yield opened
    opened.close()
