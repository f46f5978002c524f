"""The linear probe: scikit-learn's minimum, one path, nothing learned from test, fitted once, and the same in every place."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ser_fusion.evaluation import probes
from ser_fusion.evaluation.probes import DEFAULT, PATH, Fits, fit_probe, read_probe, standardise


def blobs(
    n: int = 180, d: int = 10, classes: int = 3, seed: int = 2
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(3, 2, size=(n, d)).astype(np.float32), rng.integers(0, classes, n)
    x[np.arange(n), y] += 1
    x[:, d - 1] = 5.0  # a channel without variance, as MiniLM has one
    cut = np.split(rng.permutation(n), [n // 2, 3 * n // 4])
    return x, y, dict(zip(("train", "dev", "test"), map(np.sort, cut), strict=True))


def nll(posteriors: np.ndarray, targets: np.ndarray) -> float:
    return float(-np.log(posteriors[np.arange(len(targets)), targets]).mean())


@pytest.mark.parametrize(("n", "d"), [(180, 10), (120, 300)])
@pytest.mark.parametrize("refit", [False, True])
def test_it_is_scikit_learns_logistic_regression_at_the_c_of_least_development_nll(n: int, d: int, refit: bool):
    x, y, part = blobs(n, d)
    rows = np.sort(np.concatenate([part["train"], part["dev"]])) if refit else part["train"]
    by_c = {}
    for c in PATH:
        inside, seen = standardise(x[part["train"]], x[part["dev"]])
        model = LogisticRegression(C=c, max_iter=100_000, tol=1e-9).fit(inside.astype(float), y[part["train"]])
        by_c[c] = nll(model.predict_proba(seen), y[part["dev"]])
    got = fit_probe(x, y, part["train"], part["dev"], 3, refit)
    assert got.penalty == min(by_c, key=lambda c: by_c[c])
    assert nll(got.dev, y[part["dev"]]) == pytest.approx(by_c[got.penalty], abs=1e-5)
    inside, tested = standardise(x[rows], x[part["test"]])
    model = LogisticRegression(C=got.penalty, max_iter=100_000, tol=1e-9).fit(inside.astype(float), y[rows])
    assert got.posteriors(x[part["test"]]) == pytest.approx(model.predict_proba(tested), abs=1e-5)


def test_without_a_development_part_c_is_fixed():
    x, y, part = blobs()
    got = fit_probe(x, y, part["train"], part["dev"][:0], 3, True)
    assert got.penalty == DEFAULT and got.dev.shape == (0, 3)


def test_a_class_that_is_not_in_training_gets_nothing_and_one_class_gets_all():
    x, y, part = blobs()
    two = part["train"][y[part["train"]] != 1]
    got = fit_probe(x, y, two, part["dev"], 3).posteriors(x[part["test"]])
    assert (got[:, 1] == 0).all() and np.allclose(got.sum(axis=1), 1)
    one = part["train"][y[part["train"]] == 1]
    assert (fit_probe(x, y, one, part["dev"], 3).posteriors(x)[:, 1] == 1).all()


def test_it_does_not_depend_on_the_order_of_rows_or_on_test():
    x, y, part = blobs()
    got = fit_probe(x, y, part["train"], part["dev"], 3, True)
    other, moved = y.copy(), x.copy()
    other[part["test"]], moved[part["test"]] = 0, 0
    again = fit_probe(moved, other, part["train"], part["dev"], 3, True)
    assert np.array_equal(got.weights, again.weights) and np.array_equal(got.bias, again.bias)


def test_channels_without_variance_are_dropped():
    x = np.random.default_rng(0).normal(size=(20, 3))
    x[:, 1] = 0.25
    train, test = standardise(x, x + [0, 7, 0])
    assert (test[:, 1] == 0).all() and np.isfinite(train).all()


def test_what_was_fitted_is_not_fitted_again(tmp_path: Path):
    x, y, part = blobs()
    fits = Fits(tmp_path / "probes")
    key, first = fits.fit(x, y, part["train"], part["dev"], 3, True)
    stored = read_probe(tmp_path / "probes" / f"{key}.safetensors")
    assert stored is not None and np.array_equal(stored.weights, first.weights) and stored.penalty == first.penalty
    keys = {
        fits.key(values, targets, train, dev, 3, refit)
        for values, targets, train, dev, refit in (
            (x, y, part["train"], part["dev"], False),
            (x + 1, y, part["train"], part["dev"], True),
            (x, (y + 1) % 3, part["train"], part["dev"], True),
            (x, y, part["train"][1:], part["dev"], True),
            (x, y, part["train"], part["dev"][1:], True),
        )
    }
    assert len(keys | {key}) == 6
    assert fits.fit(x, y, part["train"], part["dev"], 3, True)[1] is first
    written = (tmp_path / "probes" / f"{key}.safetensors").stat().st_ino
    again = Fits(tmp_path / "probes").fit(x, y, part["train"], part["dev"], 3, True)[1]
    assert np.array_equal(again.posteriors(x), first.posteriors(x)) and np.array_equal(again.dev, first.dev)
    assert (tmp_path / "probes" / f"{key}.safetensors").stat().st_ino == written  # what is fitted is written
    (tmp_path / "probes" / f"{key}.safetensors").write_bytes(b"cut off")
    assert read_probe(tmp_path / "probes" / f"{key}.safetensors") is None


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_fits_are_used_while_the_later_ones_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
):
    monkeypatch.setattr(probes, "WORTH", 0)  # several processes even for so little
    x, y, part = blobs()
    asked = [(x, y, part["train"][start:], part["dev"], 3, False) for start in range(6)]
    plain = [fit_probe(*fit) for fit in asked]
    fits = Fits(workers=workers)
    fits.ahead(x.size)
    keys = fits.begin(asked[:4])
    assert fits.fit_all([asked[1]]) == [keys[1]] and keys[3] not in fits._probes, "it waited for all of them"
    assert fits.begin(asked[2:]) == [*keys[2:], *(fits.key(*fit) for fit in asked[4:])]  # two of them are under way
    for fit, expected in zip(asked, plain, strict=True):
        assert np.array_equal(fits.fit(*fit)[1].weights, expected.weights)
