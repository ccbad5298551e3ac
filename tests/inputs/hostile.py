"""Documents that somebody made to end in a traceback, or to fill the memory: each is read, or refused in words."""

from __future__ import annotations

from documents import refused

CASES = [
    refused("a page that names a codec of bytes", "a.html", lambda: '<meta charset="hex"><p>6869</p>',
            "names an encoding that does not exist", "hex"),
    refused("a page that names a codec that never decodes", "a.html", lambda: '<meta charset="undefined"><p>x</p>',
            "names an encoding that does not exist", "undefined"),
    refused("a page that names a codec of host names", "a.html", lambda: '<meta charset="punycode"><p>x</p>',
            "names an encoding that does not exist", "punycode"),
]  # fmt: skip
