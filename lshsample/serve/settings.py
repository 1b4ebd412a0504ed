"""Settings of a server."""

from __future__ import annotations

from pathlib import Path

import attrs

from lshsample import specs
from lshsample.files import as_path

__all__ = ["ServeSettings"]

_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class ServeSettings:
    """What a server serves, and its limits.

    Attributes
    ----------
    model : Path
        The folder of a run or of a classifier. A new version that is saved there is served within
        ``reload_seconds``; requests that have begun finish with the old one.
    host, port : str and int
        Where it listens; by default on this machine alone. Port 0 is any free one.
    workers : int
        Processes that answer requests.
    threads : int, optional
        Threads of a prediction.
    max_body : int
        Bytes of a request's body.
    max_rows : int
        Rows of a request.
    max_top : int
        Labels per row that a request may ask for.
    max_waiting : int
        Requests that wait for a prediction in a worker; more are refused with the status 503.
    timeout : float
        Seconds after which a request that waits is refused with the status 503.
    reload_seconds : float
        Seconds between looks for a new version.
    """

    model: Path = attrs.field(converter=as_path)
    host: str = attrs.field(default="127.0.0.1", validator=specs.text)
    port: int = attrs.field(default=8000, validator=specs.integer(0, 65535))
    workers: int = attrs.field(default=1, validator=specs.integer(1, 256))
    threads: int | None = attrs.field(default=None, validator=_optional(specs.integer(1, 1024)))
    max_body: int = attrs.field(default=1 << 20, validator=specs.integer(1, 1 << 30))
    max_rows: int = attrs.field(default=256, validator=specs.integer(1, 1 << 20))
    max_top: int = attrs.field(default=100, validator=specs.integer(1, 10_000))
    max_waiting: int = attrs.field(default=64, validator=specs.integer(1, 1 << 20))
    timeout: float = attrs.field(default=10.0, validator=specs.number(0, 3600, open_low=True))
    reload_seconds: float = attrs.field(default=1.0, validator=specs.number(0, 3600, open_low=True))
