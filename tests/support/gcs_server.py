"""A loopback server that speaks what Google Cloud Storage's clients ask of it to list and read a bucket.

Source: Cloud Storage JSON API reference, Objects: list and Objects: get, with and without alt=media."""

import json
import re

from loopback_store import PRIVATE, Answer, keys_of, served, stretch

TOKEN = "token"
"""The access token of who may read what is private."""
_PATH = re.compile(r"(?P<download>download/)?storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<key>.+))?", re.DOTALL)


def serve(objects: dict[str, bytes], page: int = 1000):
    """(URL, paths that were asked for) of a server whose buckets hold ``objects``, "bucket/key" -> bytes."""

    def answer(path, query, headers):
        found = _PATH.fullmatch(path)
        if not found:
            return missing()
        bucket, key = found["bucket"], found["key"]
        if bucket == PRIVATE and headers["Authorization"] != f"Bearer {TOKEN}":
            return said(403, {"error": {"code": 403, "message": "private"}})
        if key is None:
            return listed(bucket, query)
        if f"{bucket}/{key}" not in objects:
            return missing()
        if found["download"] or query.get("alt") == "media":
            return stretch(objects[f"{bucket}/{key}"], headers["Range"], {})
        return said(200, resource(bucket, key))

    def listed(bucket, query):
        if not any(path.startswith(f"{bucket}/") for path in objects):
            return missing()
        most = min(page, int(query.get("maxResults", page)))
        keys, last = keys_of(objects, bucket, query.get("prefix", ""), query.get("pageToken", ""), most)
        items = {"items": [resource(bucket, key) for key in keys]} if keys else {}
        return said(200, {"kind": "storage#objects", **items, **({"nextPageToken": last} if last else {})})

    def resource(bucket, key):
        # The API writes 64-bit numbers as texts.
        size = str(len(objects[f"{bucket}/{key}"]))
        return {"kind": "storage#object", "bucket": bucket, "name": key, "size": size, "generation": "1"}

    def missing():
        return said(404, {"error": {"code": 404, "message": "none"}})

    def said(status, value):
        return Answer(status, json.dumps(value).encode(), "application/json; charset=UTF-8")

    return served(answer)
