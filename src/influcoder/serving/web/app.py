"""The web application: a page at `/`, JSON below `/api/`."""

from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from influcoder.core.errors import InflucoderError, SampleError, ServiceError
from influcoder.serving.web.bodies import LARGEST, Attribute, Embed, Score
from influcoder.serving.web.service import Service

# The page holds all that it needs; what is pasted into it may come from anywhere.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def application(service: Service) -> FastAPI:
    """The application over a service."""
    app = FastAPI(title="Influcoder", description=application.__doc__ or "", docs_url=None, redoc_url=None)
    page = resources.files("influcoder.serving.web").joinpath("page.html").read_text()

    @app.middleware("http")
    async def _guard(request: Request, call_next: Any) -> Response:
        size = request.headers.get("content-length")
        if request.method == "POST" and (size is None or not size.isdigit() or int(size) > LARGEST):
            return JSONResponse({"error": f"a request has a length, of {LARGEST} bytes at most."}, 413)
        response: Response = await call_next(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(InflucoderError)
    def _say(_: Request, error: InflucoderError) -> JSONResponse:
        status = 422 if isinstance(error, SampleError) else 503 if isinstance(error, ServiceError) else 500
        return JSONResponse({"error": str(error)}, status)

    @app.get("/", response_class=HTMLResponse)
    def _page() -> str:
        return page

    @app.get("/api/health")
    def _health() -> dict[str, str]:
        return {"status": "up"}

    @app.get("/api/state")
    def _state() -> dict[str, Any]:
        return service.state()

    @app.post("/api/attribute")
    def _attribute(body: Attribute) -> dict[str, Any]:
        found = service.answers([item.exchange() for item in body.outputs], body.k, body.least, body.private)
        answers = [
            {"id": a.output.id, "prompt": a.output.context, "answer": a.output.target, "rows": a.rows()} for a in found
        ]
        return {"answers": answers, "warnings": list(found[0].warnings)}

    @app.post("/api/embed")
    def _embed(body: Embed) -> dict[str, Any]:
        vectors = service.embed([item.sample() for item in body.samples])
        return {"dimensions": vectors.shape[1], "vectors": vectors.tolist(), "warnings": service.warnings()}

    @app.post("/api/score")
    def _score(body: Score) -> dict[str, Any]:
        roles = ([item.sample() for item in role] for role in (body.queries, body.candidates))
        return {"scores": service.scores(*roles).tolist(), "warnings": service.warnings()}

    return app
