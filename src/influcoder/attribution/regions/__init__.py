"""Which regions of the data drive the model."""

from influcoder.attribution.regions.folder import write_survey
from influcoder.attribution.regions.survey import Scope, Survey, survey

__all__ = ["Scope", "Survey", "survey", "write_survey"]
