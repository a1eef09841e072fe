# %% [markdown]
# # 05 · Sparse surrogates: exercises
#
# **Goals.** Choose k features: all ways tried, or one by one, and where the second misses. See what each buys on fresh samples.
# Derive why l1 gives zeros, and how often. Compare three budgets.
#
# **You need** unit 04 and `notebooks/05_lime_sparsity.ipynb`. **Time** 75 minutes; the stretch item at the end takes
# another 9, and its points come on top of the 24. **Machine** any CPU.

# %% [markdown]
# **Letters**, as in unit 04: `X`, (N, n), samples in rows; `y`, (N,), their scores; `w`, (N,), their weights, and $\Pi$ the diagonal
# matrix of them; $\beta$, (n,), the coefficients; a prime transposes. $x_i$ is row i, a sample; $x_j$ is column j, a feature. The squares
# are $\sum_i w_i (y_i - x_i\beta)^2$, without a 1/2 and without an intercept: where one is needed, the weighted means have been
# subtracted. Tensors are float64, features are counted from 0. `weighted_fit(X, y, w)` and `fidelity(y, found, w)` are your
# functions of unit 04.

# %% xaiteach={"role": "setup"}
from itertools import combinations

import torch

from xaiteach import data, models, plots
from xaiteach.widgets import check, hint, mine, ready, receipt, solution

weighted_fit = mine("lime_fit.weighted_fit")
fidelity = mine("lime_fit.fidelity")

# %% [markdown]
# {{ item lime_sparsity.best_subset }}
#
# An explanation that a person can read has few features: $\lVert\beta\rVert_0 \le k$, where $\lVert\beta\rVert_0$ counts the
# entries that are not 0.
#
# Write `best_subset(X, y, w, k)`: of all sets of k features, each fitted alone, the one that leaves the smallest sum of
# weighted squares. Return its coefficients, (n,), with zeros for the others. There are at most 7 features here.


# %% xaiteach={"role": "answer", "question": "lime_sparsity.best_subset"}
def best_subset(X, y, w, k):
    ### BEGIN SOLUTION
    best, beta = None, torch.zeros(X.shape[1], dtype=X.dtype)
    for chosen in combinations(range(X.shape[1]), k):
        some = list(chosen)
        part = weighted_fit(X[:, some], y, w)  # refitted: who stays takes over from who goes
        left = w @ (y - X[:, some] @ part) ** 2
        if best is None or left < best:
            best, beta = left, torch.zeros(X.shape[1], dtype=X.dtype)
            beta[some] = part
    return beta
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_sparsity.best_subset"}
check("lime_sparsity.best_subset")

# %% [markdown]
# {{ item lime_sparsity.forward_selection }}
#
# With 64 features there are 635,376 sets of 4. So one is greedy: begin with none; in each round add the feature that, after a
# refit of all that are in then, leaves the least; never take one back.
#
# Write `forward_selection(X, y, w, k)`. Return the coefficients, (n,), as above.


# %% xaiteach={"role": "answer", "question": "lime_sparsity.forward_selection"}
def forward_selection(X, y, w, k):
    ### BEGIN SOLUTION
    chosen = []

    def left(some):
        return float(w @ (y - X[:, some] @ weighted_fit(X[:, some], y, w)) ** 2)

    for _ in range(k):
        rest = [j for j in range(X.shape[1]) if j not in chosen]
        chosen.append(min(rest, key=lambda j: left([*chosen, j])))
    beta = torch.zeros(X.shape[1], dtype=X.dtype)
    beta[chosen] = weighted_fit(X[:, chosen], y, w)
    return beta
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_sparsity.forward_selection"}
check("lime_sparsity.forward_selection")

# %% [markdown]
# {{ item lime_sparsity.missed }}
#
# The design of the lesson: let the columns $x_1$, $x_2$ and $e$ have length 1 and stand at right angles, and let $x_3 = (x_1 + x_2 +
# d\,e)/\sqrt{2 + d^2}$ with $0 < d < \sqrt 2$. The scores are $y = x_1 + x_2$, all weights 1, and $k = 2$. The best two leave
# nothing. What does forward selection leave? (In round two $x_1$ and $x_2$ tie; take either.)
#
# Set `missed` to the sum of squares: a formula in `d`, in quotes, written like `"2*d^2 + 1"`.

# %% xaiteach={"role": "answer", "question": "lime_sparsity.missed"}
### BEGIN SOLUTION
missed = "d^2/(1 + d^2)"  # x3 goes in first and stays
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_sparsity.missed"}
check("lime_sparsity.missed")

# %% xaiteach={"role": "setup"}
one = torch.ones(3, dtype=torch.float64)


def twins(d):
    third = torch.tensor([1.0, 1.0, d], dtype=torch.float64) / (2 + d**2) ** 0.5
    return torch.stack([*torch.eye(3, dtype=torch.float64)[:2], third], 1), torch.tensor([1.0, 1.0, 0.0]).double()


# %% xaiteach={"role": "demo"}
from xaiteach.questions.formulas import parse

if ready("lime_sparsity.missed") and ready("lime_sparsity.best_subset") and ready("lime_sparsity.forward_selection"):
    formula = parse(missed, ["d"])
    for d in (0.1, 0.5, 1.0, 1.5):
        samples, scores = twins(d)
        found = [torch.as_tensor(f(samples, scores, one, 2)).double() for f in (best_subset, forward_selection)]
        best, greedy = (float(((scores - samples @ beta) ** 2).sum()) for beta in found)
        said = f"{float(formula.value({'d': d})):.2f}" if d**2 < 2 else "not for such a d"
        print(f"d = {d}: the best two leave {abs(best):.2f}, greedy {abs(greedy):.2f}; your formula: {said}")

# %% [markdown]
# One feature that is a little of both looks better than either, and is never given back. At $d = 1.5 > \sqrt 2$ it is not taken first,
# and greedy is right.

# %% [markdown]
# {{ item lime_sparsity.predict_peak }}
#
# A test signal is cut into 20 stretches of two points. A sample switches some of them off (to 0), and LIME explains the network's
# score by which are on. It is another signal than the lesson's. We have 40 samples to fit. With how many of the 20 features will the
# surrogate predict the scores of *fresh* samples best? Set `predict_peak`.

# %% xaiteach={"role": "answer", "question": "lime_sparsity.predict_peak"}
### BEGIN SOLUTION
predict_peak = 12  # as if more than half of them told something
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_sparsity.predict_peak"}
check("lime_sparsity.predict_peak")

# %% [markdown]
# {{ item lime_sparsity.price }}
#
# The cell below draws 40 samples (`Z`, `y`, `w`) and 2000 fresh ones (`fresh_Z`, `fresh_y`, `fresh_w`), and subtracts the
# weighted means of the 40 from both.
#
# For $k = 1, \dots, 20$: choose and fit k features on the 40 samples by your `forward_selection`, and measure `fidelity` on the
# fresh ones. Set `price` to the 20 fidelities.

# %% xaiteach={"role": "setup"}
model = models.load("convnet1d")
signal = torch.tensor(data.mnist1d().x_test[4])
with torch.no_grad():
    predicted = int(model(signal[None, None]).argmax())


def ask(N, seed):
    on = torch.randint(0, 2, (N, 20), generator=torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        scores = model((signal * on.repeat_interleave(2, 1).float())[:, None])[:, predicted].double()
    return on, scores, torch.exp(-(((1 - on).sum(1) / 10) ** 2))


# %% xaiteach={"role": "setup"}
Z, y, w = ask(40, seed=1)
fresh_Z, fresh_y, fresh_w = ask(2000, seed=2)
z_mean, y_mean = (w @ Z) / w.sum(), (w @ y) / w.sum()
Z, fresh_Z, y, fresh_y = Z - z_mean, fresh_Z - z_mean, y - y_mean, fresh_y - y_mean

# %% xaiteach={"role": "answer", "question": "lime_sparsity.price"}
### BEGIN SOLUTION
price = [
    float(fidelity(fresh_y, fresh_Z @ forward_selection(Z, y, w, k), fresh_w)) for k in range(1, 21)
]  # fitted on 40, judged on 2000
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_sparsity.price"}
check("lime_sparsity.price")

# %% xaiteach={"role": "demo"}
if ready("lime_sparsity.price") and ready("lime_sparsity.forward_selection"):
    fits = [torch.as_tensor(forward_selection(Z, y, w, k)).double() for k in range(1, 21)]
    own = [float(fidelity(y, Z @ beta, w)) for beta in fits]
    there = [float(value) for value in price]
    peak = max(range(20), key=lambda i: there[i]) + 1
    print(
        f"fresh samples are predicted best with {peak} features ({there[peak - 1]:.2f}); with all 20: {there[-1]:.2f}"
    )
    print(
        f"on its own 40 samples: {own[peak - 1]:.2f} and {own[-1]:.2f}; you predicted {'nothing' if predict_peak is ... else predict_peak}"
    )
    lines = {"its own 40 samples": plots.Series(own), "2000 fresh samples": plots.Series(there)}
    display(plots.curves(lines, list(range(1, 21)), x_label="features k", y_label="fidelity", y_range=(0, 1)))

# %% [markdown]
# Few features are not only easier to read. On 40 samples the later ones are fitted to what is left by chance, and they harm
# everywhere else. On its own samples nothing of it shows.

# %% [markdown]
# {{ item lime_sparsity.soft_threshold }}
#
# Another way to few features: put a price on sizes, and minimise the squares plus $\lambda\lVert\beta\rVert_1$, with
# $\lVert\beta\rVert_1 = \sum_j |\beta_j|$. (That is the *lasso*.) On a design with $X'\Pi X = I$ it can be solved on paper: with $z =
# X'\Pi y$ each coefficient is on its own, and $\beta_j$ is the $b$ that minimises $b^2 - 2 z_j b + \lambda |b|$.
#
# Derive it. Write `soft_threshold(z, lam)`: the minimisers for all $z_j$ at once, shape (n,).


# %% xaiteach={"role": "answer", "question": "lime_sparsity.soft_threshold"}
def soft_threshold(z, lam):
    ### BEGIN SOLUTION
    return z.sign() * (z.abs() - lam / 2).clamp(min=0)  # no 1/2 before the squares: half of lambda
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_sparsity.soft_threshold"}
check("lime_sparsity.soft_threshold")

# %% xaiteach={"role": "demo"}
if ready("lime_sparsity.soft_threshold"):
    free = torch.tensor([3.0, 1.0, 0.3, -0.2, -2.0])
    print("free      ", [round(float(v), 2) for v in free])
    print("l1, lam 1 ", [round(float(v), 2) + 0.0 for v in soft_threshold(free, 1.0)])
    print("l2, lam 1 ", [round(float(v), 2) for v in free / 2])

# %% [markdown]
# l1 takes the same amount from all and stops at 0; l2 takes the same share from all and never arrives.

# %% [markdown]
# {{ item lime_sparsity.zero_stays }}
#
# For any design: hold all coefficients but $\beta_j$ where they are. From which price $\lambda$ on is $\beta_j = 0$ the best? (What
# `beta[j]` is now does not matter. Under $\lambda\beta_j^2$ zero never is the best, unless the squares happen to have slope 0 there.)
#
# Write `zero_stays(X, y, w, beta, j)`: the least $\lambda$ at which zero is optimal for $\beta_j$ in the squares plus
# $\lambda\lVert\beta\rVert_1$. Return one number.


# %% xaiteach={"role": "answer", "question": "lime_sparsity.zero_stays"}
def zero_stays(X, y, w, beta, j):
    ### BEGIN SOLUTION
    left = y - X @ beta + X[:, j] * beta[j]  # what the others leave
    return 2 * (X[:, j] @ (w * left)).abs()  # the slope of the squares at 0; lambda has to outweigh it
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_sparsity.zero_stays"}
check("lime_sparsity.zero_stays")

# %% xaiteach={"role": "demo"}
if ready("lime_sparsity.zero_stays"):
    none = torch.zeros(20, dtype=torch.float64)
    prices = [float(zero_stays(Z, y, w, none, j)) for j in range(20)]
    first = max(range(20), key=lambda j: prices[j])
    print(
        f"from lambda = {max(prices):.1f} on all 20 features of the signal are 0; below it the first to come in is number {first}"
    )
    samples, scores = twins(0.5)
    said = [f"{float(zero_stays(samples, scores, one, torch.zeros(3).double(), j)):.2f}" for j in range(3)]
    print(f"on the design of `missed` features 0, 1 and 2 stay at 0 from {', '.join(said)} on")

# %% [markdown]
# A whole interval of slopes is outweighed by the kink of $|b|$ at 0: that is why l1 gives exact zeros. The square's slope at 0 is 0,
# and outweighs nothing.
#
# And where greedy missed, the lasso lets the same feature in first: as the price falls, $x_3$ (number 2 here) comes in before the others.
# Unlike greedy it gives back what it took: at a price of 0 the fit is $x_1 + x_2$ again.

# %% [markdown]
# {{ item lime_sparsity.project_l1 }}
#
# A budget in place of a price: $\lVert\beta\rVert_1 \le k$, where $k > 0$ is now a size and no count. Which point of that ball is nearest to a
# vector `v`, in plain (Euclidean) distance? As in unit 04 the Lagrangian adds $\lambda(\lVert\beta\rVert_1 - k)$ to the squared distance:
# for a given $\lambda$ you have solved that already. It remains to find the $\lambda$ that spends the budget.
#
# Write `project_l1(v, k)`: that point, shape (n,), like `v`. A point inside stays.


# %% xaiteach={"role": "answer", "question": "lime_sparsity.project_l1"}
def project_l1(v, k):
    ### BEGIN SOLUTION
    if v.abs().sum() <= k:
        return v
    sizes = v.abs().sort(descending=True).values
    amounts = (sizes.cumsum(0) - k) / torch.arange(1, len(v) + 1)  # if just the m largest stay
    amount = amounts[sizes > amounts][-1]
    return v.sign() * (v.abs() - amount).clamp(min=0)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_sparsity.project_l1"}
check("lime_sparsity.project_l1")

# %% [markdown]
# {{ item lime_sparsity.predict_corners }}
#
# "The l1 ball has corners, so its solutions are sparse." Below are 40 free optima of two features, drawn from a square and all
# outside the ball $\lVert\beta\rVert_1 \le 1$. In the lesson's plane the features had equal length; here the second is half as long, and
# they are correlated. For how many of the 40 will the constrained fit have a zero? Set `predict_corners`.

# %% xaiteach={"role": "answer", "question": "lime_sparsity.predict_corners"}
### BEGIN SOLUTION
predict_corners = 40  # as the saying has it
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_sparsity.predict_corners"}
check("lime_sparsity.predict_corners")

# %% [markdown]
# {{ item lime_sparsity.constrained }}
#
# With `G` $= X'\Pi X$ the squares are $(\beta - b)'G(\beta - b)$ plus a constant, where $b$, (2,), is the free optimum. The cell below
# makes `G` (squared lengths 1 and 1/4 on the diagonal, so a correlation of $.3/(1 \cdot .5) = .6$) and `optima`, (40, 2).
#
# Set `constrained` to the minimum over $\lVert\beta\rVert_1 \le 1$ for each of them, (40, 2), accurate to 1e-4, by projected gradient: a
# step against the gradient, then your `project_l1`, again and again. From 0, with a step of .4 (below 1 over the largest
# eigenvalue of $2G$), 300 rounds suffice: a few seconds.

# %% xaiteach={"role": "setup"}
G = torch.tensor([[1.0, 0.3], [0.3, 0.25]], dtype=torch.float64)
drawn = 6 * torch.rand(80, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64) - 3
optima = drawn[drawn.abs().sum(1) > 1][:40]

# %% xaiteach={"role": "answer", "question": "lime_sparsity.constrained"}
### BEGIN SOLUTION
rows = []
for b in optima:
    beta = b
    for _ in range(300):
        beta = project_l1(beta - 0.4 * 2 * G @ (beta - b), 1.0)
    rows.append(beta)
constrained = torch.stack(rows)
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_sparsity.constrained"}
check("lime_sparsity.constrained")

# %% xaiteach={"role": "demo"}
if ready("lime_sparsity.constrained") and ready("lime_sparsity.project_l1"):
    fits = torch.as_tensor(constrained).double()
    nearest = torch.stack([torch.as_tensor(project_l1(b, 1.0)) for b in optima])
    zeros = [int((part.abs().min(1).values < 1e-4).sum()) for part in (fits, nearest)]
    moved = int(((fits - nearest).abs().max(1).values > 0.01).sum())
    print(
        f"{zeros[0]} of the 40 fits have a zero; you predicted {'nothing' if predict_corners is ... else predict_corners}"
    )
    print(f"{moved} of the fits are another point than the nearest one of the ball, of which {zeros[1]} have a zero")

# %% [markdown]
# About half. A corner is the best point for a whole cone of optima, but between two cones lies a strip whose best points are on
# the side. The more features, the more corners and edges: with 20 features, zeros are the rule. And the fit is not the nearest
# point: what it costs to leave the optimum is measured by $G$.

# %% [markdown]
# {{ item lime_sparsity.compared }}
#
# Compare the three budgets $\lVert\beta\rVert_0 \le k$, $\lVert\beta\rVert_1 \le k$ and (unit 04) $\lVert\beta\rVert_2 \le k$. Give a
# sentence to each of these: what k means and its units, convexity and search, twins and uniqueness, shrinkage, zeros, scaling of the
# features, cost. The lesson's "Twins, and another unit" has the facts; your numbers above have more. Set `compared` to the text, at
# least 50 words.

# %% xaiteach={"role": "answer", "question": "lime_sparsity.compared"}
### BEGIN SOLUTION
compared = """
Under l0, k is a number of features; under l1 it is the sum of the coefficients' sizes, under l2 their length, both in
units of score per unit of feature. So another unit for one feature leaves the best l0 set as it is and changes the other
two: one standardises first. The l1 and l2 sets are balls and convex, so every local minimum is global, and l2's is
unique; the l0 set is a union of subspaces, no ball, and the search through it grows like n choose k, so that one is
greedy, and may miss: a feature that is a little of two others was taken first and never given back. Of two features that
move together, l2 gives each its share, l1 picks one or does not care how they share, l0 takes one of them. l0 does not
shrink what it keeps, l1 takes the same amount from all, l2 the same share in an orthonormal design. Zeros are certain
under l0; under l1 zero is best for a whole interval of slopes, which happened in 21 of 40 fits, so it is common and not
certain; under l2 it takes a slope of exactly zero. l2 costs one linear system for each lambda, l1 an iteration or a
path, and l0 an enumeration.
"""
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_sparsity.compared"}
check("lime_sparsity.compared")

# %% [markdown]
# ## Stretch
#
# What follows is beyond the core of the unit.

# %% [markdown]
# {{ item lime_sparsity.omp }}
#
# Orthogonal matching pursuit chooses by what is left alone, without a trial refit of each candidate, and is cheaper than forward
# selection: in each round it adds the feature with the largest $|x_j'\Pi r|/\sqrt{x_j'\Pi x_j}$, where $r$ is what the features that are in leave of y after a refit. Write
# `omp(X, y, w, k)`. Return the coefficients, (n,).


# %% xaiteach={"role": "answer", "question": "lime_sparsity.omp"}
def omp(X, y, w, k):
    ### BEGIN SOLUTION
    chosen, left = [], y
    lengths = (w @ X**2).sqrt()
    for _ in range(k):
        score = (X.T @ (w * left)).abs() / lengths
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        left = y - X[:, chosen] @ weighted_fit(X[:, chosen], y, w)
    beta = torch.zeros(X.shape[1], dtype=X.dtype)
    beta[chosen] = weighted_fit(X[:, chosen], y, w)
    return beta
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_sparsity.omp"}
check("lime_sparsity.omp")

# %% xaiteach={"role": "demo"}
if ready("lime_sparsity.omp") and ready("lime_sparsity.forward_selection"):
    leaning = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 1.0]]).double()
    scores = torch.tensor([3.0, 0.25, 0.1]).double()
    for title, given, k in (("the signal", (Z, y, w), 6), ("a leaning pair", (leaning, scores, one), 2)):
        sets = [torch.as_tensor(f(*given, k)).nonzero().flatten().tolist() for f in (forward_selection, omp)]
        print(f"{title}, k = {k}: forward selection {sets[0]}, OMP {sets[1]}")

# %% [markdown]
# On the signal the two agree. In the small design feature 1 leans so closely on feature 0 that little of it points to what is left: OMP
# passes it over, and forward selection, which refits, sees that this little is all that is needed.

# %% [markdown]
# ## What would be handed in
#
# Save first (Ctrl+S). The cell below compares the saved file with what you last checked, runs it from a fresh start, and
# writes a receipt.

# %% xaiteach={"role": "demo"}
receipt("05_lime_sparsity")
