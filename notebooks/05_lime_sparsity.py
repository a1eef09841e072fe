# %% [markdown]
# # 05 · Few features
#
# **Goals.** See what a surrogate with k features buys and what it costs; how k features are found, and missed; what a budget's
# shape does to the coefficients; when l1 gives zeros, and when it does not.
#
# **You need** unit 04. **Time** 30 minutes, with one exploration. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import numpy as np
import torch

from xaiteach import data, lime, models, plots

# %% xaiteach={"role": "setup"}
model = models.load("convnet1d")
x = torch.tensor(data.mnist1d().x_test[1])
with torch.no_grad():
    c = int(model(x[None, None]).argmax())


def score(batch):
    with torch.no_grad():
        return model(batch)[:, c]


def asked(n_samples, seed):
    generator = torch.Generator().manual_seed(seed)
    options = {"labels": lime.segments(40, 20), "fill": 0.0, "generator": generator}
    return lime.superpixel_neighbourhood(score, x[None], n_samples=n_samples, **options)


# %% [markdown]
# ## Twenty coefficients, or five
#
# LIME explains one signal of the network of unit 01 by 20 stretches of two points each, on or off. **Predict:** how much of the
# fidelity goes when 15 of the 20 are dropped? (Near samples count more; `explain` fits by ridge with a small penalty.)

# %% xaiteach={"role": "demo"}
near, fresh = asked(200, seed=0), asked(2000, seed=1)
whole, five = near.explain(), near.explain(n_features=5, selection="forward")
for name, found in (("20 stretches", whole), ("5 stretches", five)):
    print(f"{name:<13} fidelity on fresh samples {found.fidelity_on(fresh):.2f}")
plots.compare([whole.values.float(), five.values.float()], ["20 stretches", "5 stretches"], signed=True, units="logit")

# %% [markdown]
# Five stretches say as much as twenty, and a person can check five. A budget is not a defect of the explanation: it is
# what makes it one.

# %% [markdown]
# ## How to find them
#
# The best five of twenty are among 15,504 sets. Enumeration is the yardstick; in practice one is greedy (forward selection, orthogonal
# matching pursuit), or takes the largest coefficients of the full fit. **Predict:** which of these finds the best set of two on the
# design below? (Features are numbered from 1 here.)

# %% xaiteach={"role": "demo"}
third = np.array([1.0, 1.0, 0.5]) / np.sqrt(2.25)  # a little of both, and something else
design = np.column_stack([[1.0, 0, 0], [0, 1.0, 0], third])
wanted = np.array([1.0, 1.0, 0.0])  # the first two, exactly
for name in ("best_subset", "forward", "omp", "largest"):
    solver = lime.SELECTIONS[name](2)
    solver.fit_intercept = False
    found = solver.fit(design, wanted)
    left = float(((wanted - design @ found.coef_) ** 2).sum())
    print(f"{name:<12} takes features {(found.support_ + 1).tolist()} and leaves {abs(left):.2f}")

# %% [markdown]
# A feature that is a little of two others wins the first round and is never given back. The largest coefficients are right here and
# wrong elsewhere: two twins halve one coefficient between them, and both look small. Each shortcut is good most of the time,
# and nobody tells you when it is not.

# %% [markdown]
# ## Three shapes
#
# $\lVert\beta\rVert_0 \le k$ counts, $\lVert\beta\rVert_1 \le k$ adds sizes, $\lVert\beta\rVert_2 \le k$ measures length. Below is the
# plane of free optima of two features: red where the second coefficient of the constrained fit is exactly 0, blue where
# the first is. "l1 gives zeros, for it has corners": **predict** how much of the plane will be coloured under l1.

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import plane_of_optima

plane_of_optima()

# %% [markdown]
# Read it aloud: *half of the plane, for this budget.* Between the cones that end in the corners run strips whose best points lie on a
# side; a small ball's are narrower. And move the correlation: with two features of equal length (the norm of their columns) *nothing*
# changes under l1. The squares rise along ellipses around the free optimum, and of equal lengths the ellipses' axes are the
# diagonals, which is how the sides of the ball run. Only with unequal lengths do the ellipses lean against the sides.
#
# l0 is no ball: it is the two axes themselves, and every optimum is sent to one of them, however far away it is.

# %% [markdown]
# ## Why zeros at all
#
# Let one coefficient vary and hold the others: the squares are a parabola. Under $\lambda b^2$ the slope of the price at 0 is 0: even the
# slightest slope of the parabola wins, and the coefficient moves. Under $\lambda |b|$ the price rises with slope $\lambda$ to both
# sides: nothing moves until the parabola is steeper. And where a feature is charged $\lambda$ for being there at all (l0), it stays
# if it saves more than that: $z^2 > \lambda$.

# %% xaiteach={"role": "demo"}
free = np.linspace(-2, 2, 81)
lines = {
    "no price": plots.Series(free.tolist(), dashed=True),
    "l1, lambda = 1": plots.Series(lime.soft_threshold(free, 0.5).tolist()),
    "l2, lambda = 1": plots.Series((free / 2).tolist()),
    "l0, lambda = 1": plots.Series(np.where(np.abs(free) > 1, free, 0.0).tolist()),
}
kept = [int((np.abs(np.array(line.values)) < 1e-12).sum()) for line in lines.values()]
print("exact zeros among 81 values:", dict(zip(lines, kept)))
plots.curves(lines, free.tolist(), x_label="free coefficient", y_label="what becomes of it", title="Three prices")

# %% [markdown]
# l1 takes the same amount from every survivor (how much, you will derive), l2 takes a share, and l0 takes nothing from what it keeps.

# %% [markdown]
# ## Twins, and another unit
#
# Below, $y = 2u + v$ is fitted on the features $u$, $u$ again, and $v$; then $v$ is measured in a unit ten times as large, so that its
# numbers are a tenth. **Predict:** which budget shares between the twins, and which is untouched by the unit?

# %% xaiteach={"role": "demo"}
u, v = np.random.default_rng(0).normal(size=(2, 200))
solvers = {"l0, k = 2": lime.SELECTIONS["best_subset"](2), "l1, k = 2": lime.Lasso(k=2.0), "l2, k = 1.5": lime.Ridge(k=1.5)}  # fmt: skip
for title, columns in (("u, u, v", [u, u, v]), ("u, u, v/10", [u, u, v / 10])):
    for name, solver in solvers.items():
        beta = solver.fit(np.column_stack(columns), 2 * u + v).coef_
        print(f"{title:<10} {name:<12} {', '.join(f'{b:.2f}' for b in beta)}")

# %% [markdown]
# l2 shares equally: its ball is round and convex, and there is one best point. l1's is convex, too, but between exact twins any split
# costs the same, so the best point is not unique; this solver happens to take the first. l0 takes one of them; its set is no convex
# set, so that there may be many local minima, and the search is combinatorial. And l1 and l2 add up coefficients, so they depend on
# units: in the larger unit $v$ would need a coefficient of 10, which the budget does not pay for. One standardises first.

# %% [markdown]
# ## What a feature buys
#
# Every further feature fits the samples better: those that were fitted. **Predict:** 40 samples, 20 features. With which k will the
# fit predict fresh samples best?

# %% xaiteach={"role": "demo"}
few = asked(40, seed=3)
ks = list(range(1, 21))
fits = [few.explain(lime.Ridge(penalty=0.0), n_features=k, selection="forward") for k in ks]
own, there = [f.fidelity for f in fits], [f.fidelity_on(fresh) for f in fits]
best = max(ks, key=lambda k: there[k - 1])
print(
    f"best on fresh samples: k = {best} with {there[best - 1]:.2f}; all 20: {there[-1]:.2f} (on their own {own[-1]:.2f})"
)
lines = {"its own 40 samples": plots.Series(own), "2000 fresh samples": plots.Series(there)}
plots.curves(lines, ks, x_label="features k", y_label="fidelity", y_range=(0, 1))

# %% [markdown]
# The two curves part where the surrogate begins to explain its own noise; where that is depends on the signal. Now choose for yourself:
# `exercises/05_lime_sparsity.ipynb`.
