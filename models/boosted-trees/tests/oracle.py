"""XGBoost itself, asked by the tests what it makes of a model.

    oracle.py make FOLDER      trains models on random data with missing numbers; each case is a folder with the model in both
                               forms, the rows, and what XGBoost predicts and explains
    oracle.py predict FOLDER   reads FOLDER/model.json, model.ubj and rows.f32, and writes what XGBoost predicts by each
"""

import json
import pathlib
import sys

import numpy
import xgboost


def save(path, array):
    numpy.ascontiguousarray(array, dtype="<f4").tofile(path)


def answers(folder, booster, rows, suffix=""):
    data = xgboost.DMatrix(rows, missing=numpy.nan)
    save(folder / f"margins{suffix}.f32", booster.predict(data, output_margin=True))
    save(folder / f"predictions{suffix}.f32", booster.predict(data))
    save(folder / f"contributions{suffix}.f32", booster.predict(data, pred_contribs=True))


def case(folder, seed, features, rounds, params, missing):
    folder.mkdir()
    random = numpy.random.default_rng(seed)
    rows = random.normal(size=(600, features)).astype(numpy.float32)
    # Few distinct numbers, so that rows lie exactly on a threshold.
    rows[:, ::2] = numpy.round(rows[:, ::2], 1)
    rows[random.random(rows.shape) < missing] = numpy.nan
    clean = numpy.nan_to_num(rows)
    target = clean[:, 0] * clean[:, 1 % features] + numpy.abs(clean[:, 2 % features]) + random.normal(size=600) / 2
    if params["objective"] == "binary:logistic":
        target = (target > 0.7).astype(numpy.float32)
    booster = xgboost.train(dict(params, nthread=1, seed=seed), xgboost.DMatrix(rows, target), rounds)
    booster.save_model(folder / "model.json")
    booster.save_model(folder / "model.ubj")
    save(folder / "rows.f32", rows)
    (folder / "case.json").write_text(json.dumps({"features": features, "rows": len(rows)}))
    answers(folder, booster, rows)


def make(folder):
    logistic = {"objective": "binary:logistic"}
    squared = {"objective": "reg:squarederror"}
    cases = [
        (4, 1, dict(logistic, max_depth=1), 0.0),
        (5, 17, dict(logistic, max_depth=4, base_score=0.1), 0.3),
        (12, 60, dict(logistic, max_depth=6, eta=0.1, subsample=0.8), 0.1),
        (9, 33, dict(logistic, tree_method="exact", max_depth=5), 0.5),
        (7, 20, dict(logistic, grow_policy="lossguide", max_leaves=40, max_depth=0), 0.2),
        (6, 25, dict(squared, max_depth=5), 0.2),
        (3, 8, dict(squared, max_depth=8, base_score=-2.5, min_child_weight=0), 0.1),
        (5, 12, dict(logistic, max_depth=4, gamma=2.0, scale_pos_weight=7), 0.0),
    ]
    for number, (features, rounds, params, missing) in enumerate(cases):
        case(folder / str(number), 20 + number, features, rounds, params, missing)


def predict(folder):
    features = json.loads((folder / "case.json").read_text())["features"]
    rows = numpy.fromfile(folder / "rows.f32", dtype="<f4").reshape(-1, features)
    for form in ("json", "ubj"):
        booster = xgboost.Booster(model_file=folder / f"model.{form}")
        booster.feature_names = None
        booster.feature_types = None
        answers(folder, booster, rows, f".{form}")


if __name__ == "__main__":
    {"make": make, "predict": predict}[sys.argv[1]](pathlib.Path(sys.argv[2]))
