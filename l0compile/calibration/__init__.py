"""Calibration and reliability: whether a classifier's probabilities mean what they say.

Logits are float tensors [N, classes], labels int64 tensors [N]; every figure is computed in float64.
"""

from l0compile.calibration.bins import ReliabilityBin as ReliabilityBin
from l0compile.calibration.bins import classwise_ece as classwise_ece
from l0compile.calibration.bins import ece as ece
from l0compile.calibration.bins import equal_mass_ece as equal_mass_ece
from l0compile.calibration.bins import mce as mce
from l0compile.calibration.bins import reliability_bins as reliability_bins
from l0compile.calibration.bootstrap import MEASURES as MEASURES
from l0compile.calibration.bootstrap import Interval as Interval
from l0compile.calibration.bootstrap import bootstrap as bootstrap
from l0compile.calibration.bootstrap import paired_differences as paired_differences
from l0compile.calibration.flips import Flips as Flips
from l0compile.calibration.flips import compare as compare
from l0compile.calibration.noise import ece_noise as ece_noise
from l0compile.calibration.ranking import RiskCoverage as RiskCoverage
from l0compile.calibration.ranking import aurc as aurc
from l0compile.calibration.ranking import auroc as auroc
from l0compile.calibration.ranking import risk_coverage as risk_coverage
from l0compile.calibration.reliability import Calibration as Calibration
from l0compile.calibration.reliability import SplitCalibration as SplitCalibration
from l0compile.calibration.reliability import calibrate as calibrate
from l0compile.calibration.reliability import calibration_of_logits as calibration_of_logits
from l0compile.calibration.scores import accuracy as accuracy
from l0compile.calibration.scores import brier as brier
from l0compile.calibration.scores import macro_f1 as macro_f1
from l0compile.calibration.scores import nll as nll
from l0compile.calibration.seeds import over_seeds as over_seeds
from l0compile.calibration.temperature import Temperature as Temperature
from l0compile.calibration.temperature import fit_temperature as fit_temperature
