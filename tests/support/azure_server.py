"""A loopback server that speaks what Azure Blob Storage's clients ask of it to list and read a container.

Source: Azure Blob Storage REST API reference, List Blobs, Get Blob and Get Blob Properties."""

from xml.sax.saxutils import escape

from loopback_store import PRIVATE, Answer, keys_of, served, stretch

ACCOUNT = "account"
"""The first part of every path, as emulators have it; who signs with its key may read what is private."""
_DATE = "Sat, 01 Jan 2000 00:00:00 GMT"


def serve(objects: dict[str, bytes], page: int = 1000):
    """(URL, paths that were asked for) of a server whose containers hold ``objects``, "container/name" -> bytes."""

    def answer(path, query, headers):
        path = path.removeprefix(f"{ACCOUNT}/")
        if path.startswith(PRIVATE) and not headers.get("Authorization", "").startswith(f"SharedKey {ACCOUNT}:"):
            return failed(403, "AuthorizationFailure")
        if query.get("comp") == "list":
            return listed(path, query)
        if path in objects:
            about = {"ETag": '"1"', "Last-Modified": _DATE, "x-ms-blob-type": "BlockBlob"}
            return stretch(objects[path], headers["x-ms-range"], about)
        return failed(404, "BlobNotFound")

    def listed(container, query):
        if not any(path.startswith(f"{container}/") for path in objects):
            return failed(404, "ContainerNotFound")
        prefix = query.get("prefix", "")
        most = min(page, int(query.get("maxresults", page)))
        keys, last = keys_of(objects, container, prefix, query.get("marker", ""), most)
        rows = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Last-Modified>{_DATE}</Last-Modified><Etag>1</Etag>"
            f"<Content-Length>{len(objects[f'{container}/{key}'])}</Content-Length><BlobType>BlockBlob</BlobType>"
            "</Properties></Blob>"
            for key in keys
        )
        text = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}">'
            f"<Prefix>{escape(prefix)}</Prefix><Blobs>{rows}</Blobs>"
            f"<NextMarker>{escape(last)}</NextMarker></EnumerationResults>"
        )
        return Answer(200, text.encode(), "application/xml")

    def failed(status, code):
        text = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>none</Message></Error>'
        return Answer(status, text.encode(), "application/xml", {"x-ms-error-code": code})

    return served(answer)
