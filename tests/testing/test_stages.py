"""The kit of stages names the stage and its fault; the stages of the C core pass its contract too."""

import attrs
import numpy as np
import pytest

import lshsample.testing
from lshsample.plugin import SamplerStage
from lshsample.sampling import Cap, Full, Retrieve, Top, Uniform
from lshsample.testing import STAGE_CHECKS, StageCase, check_stage


@attrs.frozen
class Kept(SamplerStage):
    """A correct stage, which the faulty ones change in one place."""

    k: int = 3

    def apply(self, active, batch):
        return active


class MisspeltNeed(Kept):
    def needs(self):
        return frozenset({"query", "tables"})


class NeedsOneText(Kept):
    def needs(self):
        return "queries"


class NeedsFail(Kept):
    def needs(self):
        return frozenset({self.nothing})


class JoinsBeyond(Kept):
    def apply(self, active, batch):
        return active.join(np.full((active.n_rows, 1), batch.n_items))


class Raises(Kept):
    def apply(self, active, batch):
        raise KeyError("scores")


class ChangesInclude(Kept):
    def apply(self, active, batch):
        if batch.include is not None:
            batch.include[1][:] = 0
        return active


class DropsARow(Kept):
    def apply(self, active, batch):
        return attrs.evolve(active, indptr=active.indptr[:-1])


class ReturnsIds(Kept):
    def apply(self, active, batch):
        return active.ids


@attrs.frozen
class CannotRun(SamplerStage):
    k: int = 3


class NoStage:
    pass


def decorated(cls):
    return attrs.frozen(cls)()


#: The stage, the check that must fail, words of its message.
FAULTY = [
    (
        decorated(MisspeltNeed),
        "contract",
        "MisspeltNeed.needs returns 'query', expected some of 'frequencies'",
    ),
    (decorated(NeedsOneText), "contract", "NeedsOneText.needs returns 'e', 'i'"),
    (decorated(NeedsFail), "contract", "NeedsFail.needs raises AttributeError"),
    (decorated(JoinsBeyond), "contract", "JoinsBeyond"),
    (decorated(Raises), "contract", r"stage Raises\(\) .* raised KeyError"),
    (decorated(ChangesInclude), "contract", r"ChangesInclude\(\) changes the ids to include"),
    (decorated(DropsARow), "contract", r"stage DropsARow\(\) .* returned 6 rows, expected 7"),
    (decorated(ReturnsIds), "contract", r"ReturnsIds\(\).* returned ndarray, expected an ActiveSet"),
    (CannotRun(), "law", "CannotRun lacks apply"),
    (Kept, "contract", r"Kept is a class, expected an instance: StageCase\(Kept\(...\)\)"),
    (NoStage(), "determinism", "NoStage is not a subclass of SamplerStage"),
]


@pytest.mark.parametrize(
    ("stage", "check", "words"),
    FAULTY,
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_a_faulty_stage_fails_by_name(stage, check, words):
    with pytest.raises(AssertionError, match=words) as error:
        STAGE_CHECKS[check](StageCase(stage))
    assert "_Watch" not in str(error.value)


class NotDecorated(SamplerStage):
    """Not an attrs class."""

    def apply(self, active, batch):
        return active


def test_a_class_that_is_not_attrs_is_refused_by_name():
    """When it is made, or by the kit."""
    with pytest.raises(Exception, match="NotDecorated is not a frozen attrs class"):
        STAGE_CHECKS["spec"](StageCase(NotDecorated()))


def test_a_stage_with_slots_converters_and_aliases_can_be_watched():
    @attrs.frozen(slots=True)
    class Private(SamplerStage):
        _k: int = attrs.field(default=3, converter=int)

        def apply(self, active, batch):
            return active.keep(active.ids % self._k > 0)

    STAGE_CHECKS["contract"](StageCase(Private(2)))


@pytest.mark.parametrize("stage", [Top(5), Cap(9), Uniform(4), Full(), Retrieve(probes=2)], ids=str)
def test_the_contract_holds_for_stages_of_the_c_core(stage):
    STAGE_CHECKS["contract"](StageCase(stage))
    STAGE_CHECKS["threads"](StageCase(stage))


def test_all_checks_of_a_stage_of_the_c_core():
    assert check_stage(StageCase(Cap(40)))["contract"] == "passed"


def test_completion_offers_the_public_names():
    assert dir(lshsample.testing) == sorted(lshsample.testing.__all__)
