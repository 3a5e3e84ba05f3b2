"""The champion behind HTTP."""

from typing import Annotated

import typer

from influcoder.cli.tables import console


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8080,
    host: Annotated[
        str, typer.Option(help="the address to listen at; others than loopback are open to whoever asks")
    ] = "127.0.0.1",
    decoder: Annotated[str | None, typer.Option(help="the decoder in use; from the settings unless given")] = None,
    corpus: Annotated[str | None, typer.Option(help="the pool; its index is built where there is none")] = None,
) -> None:
    """Answer over HTTP: a page for people, and `/api/attribute`, `/api/score`, `/api/embed` for programs.

    Example: `influcoder serve --port 8080`
    """
    import socket

    import uvicorn

    from influcoder.core.errors import ServiceError
    from influcoder.serving.web.app import application
    from influcoder.serving.web.service import Service
    from influcoder.settings.tree import load_settings

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            # Taken before the encoder is opened, so that a port that is taken is said at once.
            listener.bind((host, port))
        except OSError as error:
            raise ServiceError(
                f"{host}:{port} can't be listened at: {error.strerror}.", "Choose another --port."
            ) from error
        app = application(Service(load_settings(decoder=decoder or None, corpus=corpus or None)))
        # Who reads the address may ask at once, and waits until the server answers.
        listener.listen()
        console.print(f"http://{host}:{listener.getsockname()[1]} (stop with Ctrl-C)", soft_wrap=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
