"""A loopback server that speaks what S3's clients ask of it to list and read a bucket.

Source: Amazon S3 API reference, ListObjectsV2 and GetObject."""

import hashlib
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@contextmanager
def serve(objects: dict[str, bytes], page: int = 1000):
    """(URL, paths that were asked for) of a server whose buckets hold ``objects``, "bucket/key" -> bytes."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            url = urlsplit(self.path)
            path, query = unquote(url.path).strip("/"), parse_qs(url.query)
            asked.append(self.path)
            if "list-type" in query:
                self.send(200, listed(path, query).encode(), "application/xml")
            elif path in objects:
                data = objects[path]
                found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                self.send(206 if found else 200, data[int(found[1]) : int(found[2]) + 1] if found else data, whole=data)
            else:
                self.send(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>", "application/xml")

        def send(self, status, data, kind="application/octet-stream", whole=None):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.md5(data if whole is None else whole).hexdigest()}"')
            self.send_header("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
            if status == 206:
                self.send_header("Content-Range", f"bytes 0-{len(data) - 1}/{len(whole)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    def listed(bucket, query):
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        keys = sorted(p.partition("/")[2] for p in objects if p.startswith(f"{bucket}/{prefix}"))
        keys = [key for key in keys if key > after]
        some = keys[:page]
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[f'{bucket}/{key}'])}</Size>"
            '<LastModified>2000-01-01T00:00:00.000Z</LastModified><ETag>"x"</ETag></Contents>'
            for key in some
        )
        more = len(keys) > page
        token = f"<NextContinuationToken>{escape(some[-1])}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
