"""The HTTP application: routes, limits, measurements."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, TypeVar

from lshsample.errors import ArgumentError, CheckpointError, needs_extra
from lshsample.serve.model import Served, Serving
from lshsample.serve.openapi import document
from lshsample.serve.requests import BadRequest, Predict, Suggest, parsed_form, parsed_json
from lshsample.serve.settings import ServeSettings

try:
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        generate_latest,
    )
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route
except ModuleNotFoundError as error:  # pragma: no cover - depends on the installation
    raise needs_extra("serving", "serve", error) from error

__all__ = ["Application"]

T = TypeVar("T")
_log = logging.getLogger(__name__)
#: Upper bounds of the latency histogram, in seconds.
_LATENCIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class _Measurements:
    """What ``/metrics`` tells of a worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("lshsample_requests", "Requests.", ["path", "status"], **make)
        self.seconds = Histogram(
            "lshsample_request_seconds", "Time to answer.", ["path"], buckets=_LATENCIES, **make
        )
        self.rows = Counter("lshsample_rows", "Rows whose labels were predicted.", **make)
        self.empty = Counter("lshsample_empty_rows", "Rows for which no label was found.", **make)
        self.waiting = Gauge("lshsample_waiting_requests", "Requests that wait or are computed.", **make)
        self.version = Gauge("lshsample_model_info", "The version that is served.", ["version"], **make)

    def text(self, served: Served) -> bytes:
        """The values now, in the format of Prometheus."""
        self.version.clear()
        self.version.labels(served.version).set(1)
        return bytes(generate_latest(self.registry))


class Application:
    """An ASGI application that serves the model of a folder; it can be pickled until it is first called.

    Parameters
    ----------
    settings : ServeSettings
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self._app: Starlette | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings, "_app": None}

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        if self._app is None:
            self._app = _Routes(self.settings).application()
        await self._app(scope, receive, send)


class _Routes:
    def __init__(self, settings: ServeSettings) -> None:
        self.settings, self.measured = settings, _Measurements()
        # A prediction uses all threads; more than one at a time would only wait for each other.
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="prediction")
        self.waiting = 0
        self._serving: Serving | None = None

    @property
    def serving(self) -> Serving:
        if self._serving is None:
            raise BadRequest("the model is being loaded", 503)
        return self._serving

    def application(self) -> Starlette:
        routes = [
            Route("/", self.page),
            Route("/predict", self.timed(self.predict), methods=["POST"]),
            Route("/why", self.timed(self.why), methods=["POST"]),
            Route("/v1/suggest", self.timed(self.suggest), methods=["POST"]),
            Route("/v1", self.timed(self.project)),
            Route("/labels", self.timed(self.labels)),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
            Route("/openapi.json", self.openapi),
        ]
        handlers: Any = {HTTPException: _http_error}
        return Starlette(routes=routes, lifespan=self.lifespan, exception_handlers=handlers)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> Any:
        loop = asyncio.get_running_loop()
        self._serving = await loop.run_in_executor(None, Serving, self.settings)
        self._serving.watch()
        try:
            yield
        finally:
            self._serving.close()
            self.pool.shutdown()

    def timed(self, answer: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        """A route that measures itself, and whose errors are answers."""

        @functools.wraps(answer)
        async def run(request: Request) -> Response:
            began, path = time.perf_counter(), request.url.path
            try:
                response: Response = JSONResponse(await answer(request))
            except BadRequest as error:
                response = _error(error.status, str(error))
            except ArgumentError as error:
                response = _error(400, str(error))
            except ClientDisconnect:  # nobody reads the answer, but it is counted
                response = _error(400, "the request ended before its body")
            except CheckpointError as error:
                _log.error("the model cannot be read any more: %s", error)
                response = _error(503, "the files of the model are damaged")
            self.measured.requests.labels(path, str(response.status_code)).inc()
            self.measured.seconds.labels(path).observe(time.perf_counter() - began)
            return response

        return run

    async def body(self, request: Request) -> bytes:
        """The body of a request, which is read no further than it may be long."""
        limit, parts, size = self.settings.max_body, [], 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise BadRequest(f"the body must have at most {limit} bytes", 413)
            parts.append(part)
        return b"".join(parts)

    async def computed(self, work: Callable[..., T], *arguments: Any) -> T:
        """The result of a prediction; refused if too many wait, or if it waits too long."""
        if self.waiting >= self.settings.max_waiting:
            raise BadRequest("too many requests wait; try again later", 503)
        loop, self.waiting = asyncio.get_running_loop(), self.waiting + 1
        self.measured.waiting.set(self.waiting)
        try:
            future = loop.run_in_executor(self.pool, work, *arguments)
            return await asyncio.wait_for(future, self.settings.timeout)
        except TimeoutError:
            raise BadRequest(f"not answered within {self.settings.timeout:g} s", 503) from None
        finally:
            self.waiting -= 1
            self.measured.waiting.set(self.waiting)

    async def predict(self, request: Request) -> dict[str, Any]:
        asked = Predict.of(parsed_json(await self.body(request)), self.settings)
        served = self.serving.current
        results = await self.computed(served.predict, asked, self.settings.threads)
        self.count(results)
        return {"model": served.version, "results": results}

    async def why(self, request: Request) -> dict[str, Any]:
        asked = Predict.of(parsed_json(await self.body(request)), self.settings)
        served = self.serving.current
        reasons = await self.computed(served.why, asked, self.settings.threads)
        self.measured.rows.inc()
        return {"model": served.version, "labels": reasons}

    async def suggest(self, request: Request) -> dict[str, Any]:
        body = await self.body(request)
        is_json = request.headers.get("content-type", "").startswith("application/json")
        asked = Suggest.of(parsed_json(body) if is_json else parsed_form(body), self.settings)
        served = self.serving.current
        wanted = Predict.of({"text": asked.text, "top": asked.limit}, self.settings)
        results = await self.computed(served.predict, wanted, self.settings.threads)
        self.count(results)
        suggestions = [
            {"uri": one.get("uri", one["label"]), "label": one["label"], "score": one["score"]}
            for one in results[0]["labels"]
            if one["score"] > 0
        ]
        return {"results": suggestions}

    async def project(self, _: Request) -> dict[str, Any]:
        """What Annif asks of a project."""
        saved = datetime.fromtimestamp(self.serving.current.saved, UTC)
        return {"is_trained": True, "modification_time": saved.isoformat()}

    def count(self, results: list[dict[str, Any]]) -> None:
        self.measured.rows.inc(len(results))
        self.measured.empty.inc(sum(not one["labels"] for one in results))

    async def labels(self, request: Request) -> dict[str, Any]:
        served = self.serving.current
        offset, limit = (_query(request, name, default) for name, default in (("offset", 0), ("limit", 100)))
        end = min(served.classifier.n_labels, offset + min(limit, 10_000))
        gone = set(served.classifier.removed.tolist())
        listed = [served.describe(label, 0.0) for label in range(offset, end) if label not in gone]
        for one in listed:
            del one["score"]
        return {"model": served.version, "total": served.classifier.n_labels, "labels": listed}

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        if self._serving is None:
            return _error(503, "the model is being loaded")
        return JSONResponse({"status": "ok", "model": self._serving.current.version})

    async def metrics(self, _: Request) -> Response:
        return Response(self.measured.text(self.serving.current), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(document(self.settings))

    async def page(self, _: Request) -> Response:
        return HTMLResponse(files("lshsample.serve").joinpath("page.html").read_text(encoding="utf-8"))


def _query(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"{name} must be an integer from 0 (got {text!r:.80})")
    return int(text)


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = json.dumps({"error": error.detail})
    return Response(body, error.status_code, error.headers, "application/json")
