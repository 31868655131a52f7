"""How reliable models of one task are, raw and with temperature scaling, against a baseline that was scaled too."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from l0compile.calibration.bins import ReliabilityBin, bins_of
from l0compile.calibration.bootstrap import (
    MEASURES,
    RESAMPLES,
    Interval,
    known,
    resampled,
)
from l0compile.calibration.flips import Flips, compare
from l0compile.calibration.noise import ece_noise_of
from l0compile.calibration.predictions import Floats, Predictions
from l0compile.calibration.ranking import RiskCoverage, risk_coverage_of
from l0compile.calibration.temperature import Temperature, fit_temperature
from l0compile.errors import ConfigError, DataError
from l0compile.tasks.classification import Classification, Part

CURVE_POINTS = 100
Intervals = Mapping[str, Interval | None]


@dataclass(frozen=True)
class SplitCalibration:
    """The measures of one model on one split, at one temperature.

    Attributes:
        measures: the interval of each measure by name; None for one that is undefined, as AUROC of one class is.
        noise: the `ece` that chance alone gives with these confidences, see `ece_noise`.
        bins: what a reliability diagram shows.
        risk: the risk-coverage curve, at 100 coverages.
    """

    measures: Intervals
    noise: Interval
    bins: tuple[ReliabilityBin, ...]
    risk: RiskCoverage


@dataclass(frozen=True)
class Calibration:
    """How reliable one model is, as it is (raw) and scaled by a temperature that was fitted on validation data.

    Attributes:
        name: of the model.
        part: which data these are figures of.
        examples: how many there are.
        temperature: that scales the model.
        raw, scaled: the figures.
        baseline: the model that the differences are against.
        raw_difference, scaled_difference: each measure of this model, raw or scaled, less that of the *scaled*
            baseline, on the same resamples.
        flips: predictions that differ from the reference's, and the largest difference of logits; None without one.
    """

    name: str
    part: Part
    examples: int
    temperature: Temperature
    raw: SplitCalibration
    scaled: SplitCalibration
    baseline: str
    raw_difference: Intervals
    scaled_difference: Intervals
    flips: Flips | None


def calibrate(
    task: Classification,
    models: Mapping[str, Callable[..., Tensor]],
    *,
    baseline: str | None = None,
    reference: str | None = None,
    part: Part = "held_out",
    measures: Sequence[str] = tuple(MEASURES),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Calibration]:
    """Judge models of a task by their probabilities.

    Each model runs over ``"validation"``, where its temperature is fitted, and over ``part``.

    Args:
        task: brings the data.
        models: by name, such as dense, gated, hardened and compiled; each takes the inputs of the task and returns
            logits, float [B, classes].
        baseline: name of the model that differences are against, by default the first. It is scaled: gate noise
            regularizes, so a lower error than that of an unscaled dense model shows little.
        reference: name of the model that predictions are compared with, such as the hardened one; None for none.
        part: what is judged.
        measures: names, of `MEASURES`.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        A report by name of model.

    Raises:
        DataError: logits are malformed or not finite; the message names the model.
        ConfigError: a name is unknown, ``part`` is the validation data, or ``resamples`` is no positive integer.
    """
    if part == "validation":
        raise ConfigError("calibration: temperatures are fitted on validation data; judge 'held_out' by them")
    logits = {
        name: (task.logits(model, "validation"), task.logits(model, part)) for name, model in models.items()
    }
    return calibration_of_logits(
        logits, task.labels("validation"), task.labels(part),
        baseline=baseline, reference=reference, part=part, measures=measures, resamples=resamples, seed=seed,
    )  # fmt: skip


def calibration_of_logits(
    logits: Mapping[str, tuple[Tensor, Tensor]],
    validation_labels: Tensor,
    labels: Tensor,
    *,
    baseline: str | None = None,
    reference: str | None = None,
    part: Part = "held_out",
    measures: Sequence[str] = tuple(MEASURES),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Calibration]:
    """Do what `calibrate` does with logits that are there already.

    Args:
        logits: by name of model, logits of the validation data and of the data to judge, float [N, classes].
        validation_labels: int64 [N of the validation data].
        labels: int64 [N of the data to judge].
        baseline, reference, part, measures, resamples, seed: as in `calibrate`.

    Returns:
        A report by name of model.

    Raises:
        DataError: logits or labels are malformed.
        ConfigError: a name is unknown, or ``resamples`` is no positive integer.
    """
    first = _known_model(logits, baseline, "baseline") or next(iter(logits))
    other = _known_model(logits, reference, "reference")
    temperatures, found = {}, {}
    for name, (validation, judged) in logits.items():
        try:
            temperatures[name] = fit_temperature(validation, validation_labels)
            found[name, False] = Predictions.of(judged, labels)
            found[name, True] = Predictions.of(temperatures[name].apply(judged), labels)
        except DataError as error:
            raise DataError(f"model {name!r}: {error}") from error
    figures = _Figures.of(found, measures, resamples, seed)
    reports = {}
    for name, (_, judged) in logits.items():
        raw, scaled = (name, False), (name, True)
        reports[name] = Calibration(
            name=name, part=part, examples=len(labels), temperature=temperatures[name],
            raw=_split(found[raw], figures.intervals(raw), resamples, seed),
            scaled=_split(found[scaled], figures.intervals(scaled), resamples, seed),
            baseline=first,
            raw_difference=figures.differences(raw, (first, True)),
            scaled_difference=figures.differences(scaled, (first, True)),
            flips=None if other is None else compare(logits[other][1], judged),
        )  # fmt: skip
    return reports


Form = tuple[str, bool]  # name of a model, and whether it is scaled


@dataclass(frozen=True, eq=False)
class _Figures:
    """Measures of all models as they are, and of their resamples."""

    names: Sequence[str]
    values: Mapping[tuple[Form, str], float]
    samples: Mapping[tuple[Form, str], Floats]

    @classmethod
    def of(
        cls, found: Mapping[Form, Predictions], measures: Sequence[str], resamples: int, seed: int
    ) -> "_Figures":
        names = known(measures)
        statistics = {(form, name): MEASURES[name](one) for form, one in found.items() for name in names}
        examples = next(iter(found.values())).examples
        values = {key: found[key[0]].value(statistic) for key, statistic in statistics.items()}
        return cls(names, values, resampled(statistics, examples, resamples, seed))

    def intervals(self, form: Form) -> Intervals:
        return {name: Interval.of(self.values[form, name], self.samples[form, name]) for name in self.names}

    def differences(self, form: Form, base: Form) -> Intervals:
        return {
            name: Interval.of(
                self.values[form, name] - self.values[base, name],
                self.samples[form, name] - self.samples[base, name],
            )
            for name in self.names
        }


def _split(found: Predictions, measures: Intervals, resamples: int, seed: int) -> SplitCalibration:
    noise = ece_noise_of(found, resamples=resamples, seed=seed)
    return SplitCalibration(measures, noise, bins_of(found), risk_coverage_of(found, CURVE_POINTS))


def _known_model(logits: Mapping[str, tuple[Tensor, Tensor]], name: str | None, role: str) -> str | None:
    """Return ``name`` if it is None or a model.

    Raises:
        ConfigError: it is neither, or there are no models.
    """
    if not logits or (name is not None and name not in logits):
        raise ConfigError(
            f"calibration: expected the {role} among the models {', '.join(map(repr, logits)) or '(none given)'}, got"
            f" {name!r}"
        )
    return name
