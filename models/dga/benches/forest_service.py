"""The plain way: a random forest over four features of a name, in scikit-learn, behind Flask.

Length, entropy, and how much of the n-grams of known names and of words a name has, as the published notebook has it.
Trains on the two lists given, takes any free port, prints it, and answers GET /apply?host=NAME and POST /apply with a JSON
array of names (which the original lacks, so that batches can be compared too).

    forest_service.py LEGIT DGA WORDS
"""

import math
import sys
from collections import Counter

import numpy
from flask import Flask, jsonify, request
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from werkzeug.serving import make_server


def lines(path):
    with open(path) as file:
        return [line.strip().split(".")[0] for line in file if line.strip()]


def entropy(name):
    length = len(name)
    return -sum(count / length * math.log2(count / length) for count in Counter(name).values())


class Model:
    def __init__(self, legit, dga, words):
        self.known, self.known_counts = self.vectorizer(legit)
        self.words, self.word_counts = self.vectorizer(words)
        self.forest = RandomForestClassifier(n_estimators=20, random_state=0)
        self.forest.fit(self.features(legit + dga), ["legit"] * len(legit) + ["dga"] * len(dga))

    @staticmethod
    def vectorizer(names):
        vectorizer = CountVectorizer(analyzer="char", ngram_range=(3, 5), min_df=1e-4, max_df=1.0)
        counts = vectorizer.fit_transform(names)
        return vectorizer, numpy.log10(numpy.asarray(counts.sum(axis=0)).ravel() + 1)

    def features(self, names):
        known = self.known.transform(names) @ self.known_counts
        words = self.words.transform(names) @ self.word_counts
        return numpy.column_stack([[len(name) for name in names], [entropy(name) for name in names], known, words])

    def judge(self, hosts):
        return self.forest.predict(self.features([host.split(".")[0] or "-" for host in hosts]))


model = Model(*(lines(path) for path in sys.argv[1:4]))
app = Flask(__name__)


@app.get("/apply")
def apply():
    return jsonify(is_malicious=model.judge([request.args["host"]])[0])


@app.post("/apply")
def apply_to_all():
    hosts = request.get_json(force=True)
    return jsonify([{"host": host, "is_malicious": verdict} for host, verdict in zip(hosts, model.judge(hosts))])


server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
server.serve_forever()
