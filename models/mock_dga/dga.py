"""A mock detector of generated domain names: everything but yahoo.com and amazon.com is malicious.

It is here to show how a model is put behind REST, and does so in the order that matters: bind a free port first, then say in
endpoint.dat where it is. A port that is looked up, released and bound again may belong to somebody else by then, and an
endpoint.dat that comes before the port is open sends callers to a closed door.
"""

import json
import os
import signal
import sys

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

ENDPOINT_FILE = "endpoint.dat"
LEGIT = {"yahoo.com", "amazon.com"}

app = Flask(__name__)


@app.get("/apply")
def apply():
    """Judges the domain in the argument `host`; no domain at all is not a legitimate one either."""
    return jsonify(is_malicious="legit" if request.args.get("host") in LEGIT else "malicious")


def publish(url):
    """Writes endpoint.dat complete or not at all: whoever watches for it may read it the moment it appears."""
    temporary = f".{ENDPOINT_FILE}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump({"url": url}, file)
    os.replace(temporary, ENDPOINT_FILE)


def stop(_signal, _frame):
    sys.exit(0)


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server = make_server("0.0.0.0", 0, app, threaded=True)
    try:
        publish(f"http://0.0.0.0:{server.server_port}")
        server.serve_forever()
    finally:
        server.server_close()
        if os.path.exists(ENDPOINT_FILE):
            os.remove(ENDPOINT_FILE)


if __name__ == "__main__":
    main()
