"""A store on loopback that refuses other regions as Amazon's does, and checks signatures by itself."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlsplit

SECRET = "secret"


class Amazon(BaseHTTPRequestHandler):
    """refusal: how requests for another region are answered."""

    region = "eu-west-1"
    refusal = "malformed"
    objects: dict[str, tuple[bytes, str]]
    asked: list[tuple[str, str, str]]  # method, host without port, region it was signed for

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.is_welcome(hashlib.sha256(body).hexdigest()):
            self.objects[self.path] = (body, self.headers["Content-Type"])
            self.answer(200)

    def do_GET(self):
        is_link = "X-Amz-Signature" in self.path
        if self.is_welcome("UNSIGNED-PAYLOAD" if is_link else hashlib.sha256(b"").hexdigest()):
            body, content_type = self.objects.get(self.path.partition("?")[0], (None, ""))
            if body is None:
                self.refuse(404, "NoSuchKey")
            else:
                self.answer(200, body, {"Content-Type": content_type})

    def is_welcome(self, body_hash):
        url, link = urlsplit(self.path), "X-Amz-Signature" in self.path
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if link:
            scope, signed, signature = (
                query[f"X-Amz-{name}"] for name in ("Credential", "SignedHeaders", "Signature")
            )
            del query["X-Amz-Signature"]
        else:
            given = re.fullmatch(
                r"AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=(\S+)",
                self.headers["Authorization"],
            )
            scope, signed, signature = given.groups()
        _, day, region, service, _ = scope.split("/")
        host = self.headers["Host"].partition(":")[0]
        self.asked.append((self.command, host, region))
        named = re.fullmatch(r"s3\.(.+)\.amazonaws\.com", host)
        if named and named[1] != self.region:
            return self.refuse(301, "PermanentRedirect", header=True)
        if region != self.region:
            code = "AuthorizationQueryParametersError" if link else "AuthorizationHeaderMalformed"
            kinds = {
                "malformed": (400, code, False, True),
                "header alone": (400, code, True, False),
                "moved": (307, "TemporaryRedirect", True, False),
                "silent": (400, code, False, False),
            }
            status, code, header, body = kinds[self.refusal]
            return self.refuse(status, code, header=header, body=body)
        canonical = "\n".join(
            (
                self.command,
                url.path,
                "&".join(
                    sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
                ),
                *(f"{name}:{self.headers[name].strip()}" for name in signed.split(";")),
                "",
                signed,
                body_hash,
            )
        )
        date = query["X-Amz-Date"] if link else self.headers["X-Amz-Date"]
        to_sign = "\n".join(
            (
                "AWS4-HMAC-SHA256",
                date,
                scope.partition("/")[2],
                hashlib.sha256(canonical.encode()).hexdigest(),
            )
        )
        key = f"AWS4{SECRET}".encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), signature):
            return self.refuse(403, "SignatureDoesNotMatch")
        return True

    def refuse(self, status, code, *, header=False, body=False):
        region = f"<Region>{self.region}</Region>" if body else ""
        self.answer(
            status,
            f"<?xml version='1.0'?><Error><Code>{code}</Code>{region}</Error>".encode(),
            {"x-amz-bucket-region": self.region} if header else {},
        )
        return False

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


@contextmanager
def amazon(**attributes):
    """The port of a running store, and its handler class."""
    handler = type("Handler", (Amazon,), {"objects": {}, "asked": [], **attributes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], handler
    finally:
        server.shutdown()
        server.server_close()
