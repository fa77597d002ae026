"""A loopback server that speaks what S3's clients ask of it to list and read a bucket.

Source: Amazon S3 API reference, ListObjectsV2 and GetObject."""

import hashlib
from xml.sax.saxutils import escape

from loopback_store import PRIVATE, Answer, keys_of, served, stretch

KEY = "key"
"""AWS_ACCESS_KEY_ID of who may read what is private."""


def serve(objects: dict[str, bytes], page: int = 1000):
    """(URL, paths that were asked for) of a server whose buckets hold ``objects``, "bucket/key" -> bytes."""

    def answer(path, query, headers):
        if path.startswith(PRIVATE) and f"Credential={KEY}/" not in headers.get("Authorization", ""):
            return Answer(403, b"<Error><Code>AccessDenied</Code><Message>private</Message></Error>", "application/xml")
        if "list-type" in query:
            return listed(path.strip("/"), query)
        if path in objects:
            data = objects[path]
            tag = hashlib.md5(data).hexdigest()
            about = {"ETag": f'"{tag}"', "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT"}
            return stretch(data, headers["Range"], about)
        return Answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>", "application/xml")

    def listed(bucket, query):
        after = query.get("continuation-token", "")
        keys, last = keys_of(
            objects, bucket, query.get("prefix", ""), after, min(page, int(query.get("max-keys", page)))
        )
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[f'{bucket}/{key}'])}</Size>"
            '<LastModified>2000-01-01T00:00:00.000Z</LastModified><ETag>"x"</ETag></Contents>'
            for key in keys
        )
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if last else ""
        text = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<IsTruncated>{str(bool(last)).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )
        return Answer(200, text.encode(), "application/xml")

    return served(answer)
