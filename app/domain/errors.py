"""Everything that can go wrong, drawn as one tree.

SproutError
├── InvalidInput            the caller sent something that cannot be used; nothing was stored
│   ├── InvalidRequestLine  one line of an input file, with its line number
│   ├── ContextExceeded     a prompt is longer than the model's context
│   └── TooLarge            more bytes than the installation takes at once
├── NotFound                no such file, batch, model or document for this tenant
├── LimitExceeded           the tenant has used up what it may use for now
├── Conflict                the thing exists but its state forbids the action
│   ├── AlreadyRunning      another `sprout up` owns this SPROUT_HOME
│   └── MixedBases          figures on two accounting bases were to be summed
├── ConfigurationError      a setting is missing, contradictory or names something that is not there
├── IntensityUnavailable    no carbon intensity is known for this zone and time
├── OptimizerFailed         the solver did not return an optimal directive mix
├── CalibrationFailed       the measured windows do not tell what a token costs
├── DispatchUnavailable     the broker cannot be reached; PostgreSQL still holds the work
├── EngineFailed            the inference engine cannot start or has stopped working
│   └── EngineUnavailable   a remote engine cannot be reached; nothing was used up
├── JudgeUnavailable        a judge of answers cannot be asked; nothing was judged
└── ServiceUnavailable      a server that Sprout needs did not start or does not answer

Messages are sentences that name the thing and the remedy. HTTP codes exist only in `app.api`.
"""

from __future__ import annotations


class SproutError(Exception):
    """Something went wrong in Sprout."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidInput(SproutError):
    """The input cannot be used."""

    def __init__(self, message: str | None = None, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class InvalidRequestLine(InvalidInput):
    """A line of the input file cannot be used."""

    def __init__(
        self,
        message: str,
        *,
        line: int,
        custom_id: str | None = None,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.line = line
        self.custom_id = custom_id


class ContextExceeded(InvalidInput):
    """The prompt is longer than the model's context."""


class TooLarge(InvalidInput):
    """More was sent than is taken at once."""


class NotFound(SproutError):
    """There is no such thing."""

    def __init__(self, message: str | None = None, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class LimitExceeded(SproutError):
    """The tenant has used up what it may use for now."""

    def __init__(self, message: str, *, code: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        """OpenAI's: `rate_limit_exceeded` or `insufficient_quota`."""
        self.retry_after_s = retry_after_s
        """None where nobody knows."""


class Conflict(SproutError):
    """The current state does not allow this."""


class AlreadyRunning(Conflict):
    """Another `sprout up` is already running on this folder."""


class MixedBases(Conflict):
    """Figures on different accounting bases cannot be summed."""


class ConfigurationError(SproutError):
    """A setting is missing or wrong."""


class IntensityUnavailable(SproutError):
    """No carbon intensity is known for this zone and time."""


class OptimizerFailed(SproutError):
    """The solver did not return an optimal directive mix."""


class CalibrationFailed(SproutError):
    """The measured windows do not tell what a token costs: measure for longer."""


class DispatchUnavailable(SproutError):
    """The message broker cannot be reached."""


class EngineFailed(SproutError):
    """The inference engine cannot start or has stopped working."""


class EngineUnavailable(EngineFailed):
    """The remote inference engine cannot be reached."""


class JudgeUnavailable(SproutError):
    """The judge of answers cannot be asked."""


class ServiceUnavailable(SproutError):
    """A server that Sprout needs did not start or does not answer."""
