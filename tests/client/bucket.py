"""A bucket on loopback whose reading requests are noted."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from audio.network import HostPolicy
from delivery import Bucket
from settings import BucketSettings


class Asked(list[dict[str, str]]):
    """Headers of the requests that read an object. is_closed: no link works any more."""

    is_closed = False


@contextlib.contextmanager
def bucket_server() -> Iterator[tuple[Bucket, Asked]]:
    objects: dict[str, bytes] = {}
    asked = Asked()

    class Store(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            objects[self.path.partition("?")[0]] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200)

        def do_GET(self) -> None:
            """Leads on to another address first, as some stores do."""
            path, _, query = self.path.partition("?")
            if asked.is_closed:
                self.answer(403)
            elif "moved" not in query:
                self.answer(307, location=f"{self.path}&moved=1")
            else:
                asked.append(dict(self.headers))
                self.answer(200, objects[path])

        def answer(self, status: int, body: bytes = b"", location: str | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if location is not None:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        settings = BucketSettings(f"http://127.0.0.1:{server.server_port}", "key", "secret", "finished")
        yield Bucket(settings, HostPolicy(allow_private=True)), asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
