# %% [markdown]
# # 04 · LIME's fit: exercises
#
# **Goals.** Fit the plane that LIME fits: as it is printed, and with the intercept that it lacks there; know why a zero
# gradient is its minimum, how far to trust it, and what a budget for its coefficients costs.
#
# **You need** units 00 and 01, matrices, and `notebooks/04_lime_fit.ipynb`. **Time** 71 minutes; the stretch items at the end
# take another 18, and their points come on top of the 25. **Machine** any CPU.

# %% [markdown]
# **Letters.** N samples of n features are the rows of `X`, (N, n); `y`, (N,), are their scores, `w`, (N,), their weights,
# $\beta$, (n,), the coefficients. (The homework writes $\Pi$ for the diagonal matrix of the weights, and uses W, y and b a
# second time with other meanings.) All tensors are float64.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, models, plots
from xaiteach.widgets import check, hint, mine, ready, receipt, solution

smoothgrad = mine("gradients.smoothgrad")

# %% [markdown]
# {{ item lime_fit.weighted_fit }}
#
# LIME (Ribeiro and others, 2016) asks a model it cannot look into: it draws samples around the input $x_0$, asks for their
# scores, gives those near $x_0$ a larger weight, and fits a plane. As it is printed: minimise
# $\lVert\Pi^{1/2}(y - X\beta)\rVert^2 = \sum_i w_i\,(y_i - x_i\beta)^2$.
#
# Write `weighted_fit(X, y, w)`: the $\beta$ of the minimum, shape (n,). Where many have it (a feature that never
# changes, two that always change together), return the shortest. Solve for it with `torch.linalg`.


# %% xaiteach={"role": "answer", "question": "lime_fit.weighted_fit"}
def weighted_fit(X, y, w):
    ### BEGIN SOLUTION
    root = w.sqrt()  # on both sides of each equation: the square makes w of it
    return torch.linalg.pinv(root[:, None] * X) @ (root * y)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_fit.weighted_fit"}
check("lime_fit.weighted_fit")

# %% xaiteach={"role": "setup"}
rng = torch.Generator().manual_seed(0)
X = 1.0 + torch.randn(50, 3, generator=rng, dtype=torch.float64)
y = X @ torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64) + 0.5 * torch.randn(50, generator=rng, dtype=torch.float64)
w = torch.rand(50, generator=rng, dtype=torch.float64)

# %% xaiteach={"role": "demo"}
if ready("lime_fit.weighted_fit"):
    beta = torch.as_tensor(weighted_fit(X, y, w))
    print("coefficients:", [round(float(b), 2) for b in beta])
    print(f"X' W (y - X beta) is at most {float((X.T @ (w * (y - X @ beta))).abs().max()):.0e}")
    twice = torch.as_tensor(weighted_fit(torch.cat([X, X[:, :1]], 1), y, w))
    print("with the first feature a second time:", [round(float(b), 2) for b in twice])

# %% [markdown]
# What is left over stands at right angles to every feature, in the geometry of the weights: if it did not, that feature
# could take some of it away. And two features that always move together share what either could carry; the data cannot say
# which of them it was.

# %% [markdown]
# {{ item lime_fit.bowl }}
#
# $J(\beta) = \sum_i w_i\,(y_i - x_i\beta)^2$. Where its gradient is zero there could be a maximum, or a saddle. Why is there none?
#
# Write `bowl(X, y, w, beta)`. Return a pair: the gradient of $J$ at `beta`, shape (n,), and the matrix of its second
# derivatives, (n, n). Derive both on paper; no automatic differentiation.


# %% xaiteach={"role": "answer", "question": "lime_fit.bowl"}
def bowl(X, y, w, beta):
    ### BEGIN SOLUTION
    left = y - X @ beta
    return -2 * X.T @ (w * left), 2 * X.T @ (w[:, None] * X)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_fit.bowl"}
check("lime_fit.bowl")

# %% xaiteach={"role": "demo"}
if ready("lime_fit.bowl") and ready("lime_fit.weighted_fit"):
    for name, samples in (("3 features", X), ("the first one twice", torch.cat([X, X[:, :1]], 1))):
        lowest = torch.as_tensor(weighted_fit(samples, y, w))
        gradient, hessian = (torch.as_tensor(part) for part in bowl(samples, y, w, lowest))
        bends = torch.linalg.eigvalsh(hessian)
        print(
            f"{name:<20} gradient at most {float(gradient.abs().max()):.0e}, bends {[abs(round(float(b), 1)) for b in bends]}"
        )

# %% [markdown]
# $v'(X'\Pi X)v = \sum_i w_i (x_i v)^2$ is a sum of squares, so the surface bends upwards in every direction, or not at all: a
# bowl, or a valley with a level floor. In both a zero gradient is a minimum; in a valley it is not the only one.

# %% [markdown]
# {{ item lime_fit.predict_constant }}
#
# A model of one feature that always answers 1, explained at $x_0 = 2$ with noise of $\sigma = 1$ and equal weights. The input
# plays no part in it. Which coefficient will the printed form give that feature? Set `predict_constant`.

# %% xaiteach={"role": "answer", "question": "lime_fit.predict_constant"}
### BEGIN SOLUTION
predict_constant = 0  # as one would hope
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_fit.predict_constant"}
check("lime_fit.predict_constant")

# %% xaiteach={"role": "demo"}
if ready("lime_fit.weighted_fit"):
    samples = 2.0 + torch.randn(100_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one = torch.ones(100_000, dtype=torch.float64)
    found = float(torch.as_tensor(weighted_fit(samples, one, one))[0])
    print(
        f"the coefficient of a feature that f = 1 does not read: {found:.2f}; you predicted {'nothing' if predict_constant is ... else predict_constant}"
    )

# %% [markdown]
# {{ item lime_fit.no_intercept }}
#
# Where does it come from? Let $f(x) = a + g\,x$ for one feature, with $x = x_0 + \epsilon$, $\epsilon \sim N(0, \sigma^2)$, all
# weights equal, and so many samples that sums are expectations. Derive the printed form's coefficient on paper.
#
# Set `no_intercept` to it: a formula in `g`, `a`, `x0` and `sigma`, as text in quotes. Products need their sign and `^` is a
# power: `"2*g^2 - a/(x0 + 1)"`.

# %% xaiteach={"role": "answer", "question": "lime_fit.no_intercept"}
### BEGIN SOLUTION
no_intercept = "g + a*x0/(sigma^2 + x0^2)"  # E[x f(x)] / E[x^2]
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_fit.no_intercept"}
check("lime_fit.no_intercept")

# %% xaiteach={"role": "demo"}
from xaiteach.questions.formulas import parse

if ready("lime_fit.no_intercept") and ready("lime_fit.weighted_fit"):
    formula = parse(no_intercept, ["g", "a", "x0", "sigma"])
    for x0 in (0.0, 0.5, 2.0, 10.0):
        samples = x0 + torch.randn(100_000, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        found = float(torch.as_tensor(weighted_fit(samples, 3.0 - samples[:, 0], one))[0])
        said = float(formula.value({"g": -1.0, "a": 3.0, "x0": x0, "sigma": 1.0}))
        print(f"f = 3 - x at x0 = {x0:<4}: fitted {found:+.2f}, your formula {said:+.2f}, the slope is -1")

# %% [markdown]
# The height of the score leaks into the slopes, by an amount that depends on where zero happens to be: measure the feature
# from another zero, and it gets another explanation. At $x_0 = 0.5$ and at 2 even the sign is wrong.

# %% [markdown]
# {{ item lime_fit.local_fit }}
#
# So let the plane have its height: $y \approx a + z\beta$. Write `local_fit(Z, y, w)`: the weighted fit with an intercept. `Z` has
# shape (N, n). Return a pair: the intercept, one number, and the coefficients, (n,). Your `weighted_fit` may help.


# %% xaiteach={"role": "answer", "question": "lime_fit.local_fit"}
def local_fit(Z, y, w):
    ### BEGIN SOLUTION
    both = weighted_fit(torch.cat([torch.ones_like(Z[:, :1]), Z], 1), y, w)
    return both[0], both[1:]
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_fit.local_fit"}
check("lime_fit.local_fit")

# %% [markdown]
# Now the network of unit 01, which LIME may ask and not open. The cell below has its `score` of (N, 40) signals for the class
# predicted of one of them, `x0`, and `around(N, seed)`: N samples around it (their noise `Z`, their scores, their weights).

# %% xaiteach={"role": "setup"}
model = models.load("convnet1d")
x0 = torch.tensor(data.mnist1d().x_test[0])
with torch.no_grad():
    predicted = int(model(x0[None, None]).argmax())


def score(signals):
    with torch.no_grad():
        return model(signals.float()[:, None])[:, predicted].double()


def around(N, seed, sigma=0.3, width=2.0):
    Z = sigma * torch.randn(N, 40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Z, score(x0 + Z), torch.exp(-(Z**2).sum(1) / width**2)


# %% xaiteach={"role": "demo"}
if ready("lime_fit.local_fit"):
    intercept, slopes = (torch.as_tensor(part) for part in local_fit(samples, one, one))
    print(f"f = 1: intercept {float(intercept):.2f}, coefficient {abs(float(slopes[0])):.2f}")
    Z, scores, weights = around(2000, seed=0)
    intercept, slopes = (torch.as_tensor(part) for part in local_fit(Z, scores, weights))
    print(f"the network: intercept {float(intercept):.1f}, and its own score at x0 is {float(score(x0[None])):.1f}")
    display(
        plots.heat_map(
            x0[None], slopes, signed=True, title=f"LIME for {predicted}, 2000 samples", units="logit per unit"
        )
    )

# %% [markdown]
# What is fitted is the score around $x_0$, not the boundary between classes: nothing here asks where the next class begins.

# %% [markdown]
# {{ item lime_fit.fidelity }}
#
# Is the plane any good there? Fidelity is a weighted $R^2$: 1 less what the surrogate misses, as a share of what the best
# *constant* would miss. Write `fidelity(y, found, w)`: `y` are the scores, `found` what the surrogate says, `w` the
# weights, (N,) each. Return one number.


# %% xaiteach={"role": "answer", "question": "lime_fit.fidelity"}
def fidelity(y, found, w):
    ### BEGIN SOLUTION
    mean = (w @ y) / w.sum()
    return 1 - (w @ (y - found) ** 2) / (w @ (y - mean) ** 2)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_fit.fidelity"}
check("lime_fit.fidelity")

# %% xaiteach={"role": "demo"}
if ready("lime_fit.fidelity") and ready("lime_fit.local_fit"):
    fresh, fresh_scores, fresh_weights = around(5000, seed=99)
    for N in (41, 60, 200, 2000):
        Z, scores, weights = around(N, seed=1)
        a, slopes = (torch.as_tensor(part) for part in local_fit(Z, scores, weights))
        own = float(fidelity(scores, a + Z @ slopes, weights))
        there = float(fidelity(fresh_scores, a + fresh @ slopes, fresh_weights))
        print(f"{N:>4} samples: fidelity {own:.2f} on those it was fitted to, {there:+.2f} on fresh ones")

# %% [markdown]
# 40 slopes and an intercept go through any 41 points. A surrogate is judged on samples that it has not seen.

# %% [markdown]
# {{ item lime_fit.scalar_noise }}
#
# The homework adds "$\epsilon$" to $x_0$ and does not say of which shape. Read it as *one number* for each sample: $x_i = x_0 +
# \epsilon_i\,(1, \dots, 1)$. There are 20 features and 200 samples. What is the rank of X? Set `scalar_noise` to the letter.
#
# {{ options lime_fit.scalar_noise }}

# %% xaiteach={"role": "answer", "question": "lime_fit.scalar_noise"}
### BEGIN SOLUTION
scalar_noise = "b"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_fit.scalar_noise"}
check("lime_fit.scalar_noise")

# %% [markdown]
# With such noise the shortest of all fits would be shown, and it would look like an explanation. Each feature needs a draw of
# its own.

# %% [markdown]
# {{ item lime_fit.ridge_fit }}
#
# With few samples the slopes run wild. Put a price on them: minimise $\sum_i w_i (y_i - a - z_i\beta)^2 +
# \lambda\lVert\beta\rVert^2$. The intercept is free of charge: adding 100 to all scores must not change the slopes.
#
# Write `ridge_fit(Z, y, w, lam)`. Return the intercept and the coefficients, as `local_fit` does.


# %% xaiteach={"role": "answer", "question": "lime_fit.ridge_fit"}
def ridge_fit(Z, y, w, lam):
    ### BEGIN SOLUTION
    share = w / w.sum()
    z_mean, y_mean = share @ Z, share @ y  # without them there is no intercept left to pay for
    Zc = Z - z_mean
    bend = Zc.T @ (w[:, None] * Zc) + lam * torch.eye(Z.shape[1], dtype=Z.dtype)
    beta = torch.linalg.solve(bend, Zc.T @ (w * (y - y_mean)))
    return y_mean - z_mean @ beta, beta
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_fit.ridge_fit"}
check("lime_fit.ridge_fit")

# %% xaiteach={"role": "demo"}
if ready("lime_fit.ridge_fit") and ready("lime_fit.fidelity"):
    Z, scores, weights = around(60, seed=1)
    for lam in (0.0, 0.01, 0.1, 1.0, 10.0):
        a, slopes = (torch.as_tensor(part) for part in ridge_fit(Z, scores, weights, lam))
        there = float(fidelity(fresh_scores, a + fresh @ slopes, fresh_weights))
        print(f"lambda {lam:>5}: length {float(slopes.norm()):6.2f}, fidelity on fresh samples {there:+.2f}")

# %% [markdown]
# The free slopes were worse than a constant; at the right price they are of use, and at too high a one they fade. But who could
# say what $\lambda = 0.1$ means? Its unit is that of $w z^2$.

# %% [markdown]
# {{ item lime_fit.in_ball }}
#
# A budget is easier to read: minimise $\sum_i w_i (y_i - a - z_i\beta)^2$ subject to $\lVert\beta\rVert^2 \le k^2$. The Lagrangian
# adds $\lambda\,(\lVert\beta\rVert^2 - k^2)$ with $\lambda \ge 0$ and $\lambda\,(\lVert\beta\rVert^2 - k^2) = 0$: either
# the budget costs nothing, or it is spent to the last.
#
# Write `in_ball(Z, y, w, k)`, with $k > 0$. Return a pair: $\lambda$ and the coefficients, (n,). Your `ridge_fit` gives
# $\beta(\lambda)$, whose length falls as $\lambda$ grows. Find $\lambda$ to four digits.


# %% xaiteach={"role": "answer", "question": "lime_fit.in_ball"}
def in_ball(Z, y, w, k):
    ### BEGIN SOLUTION
    def beta(lam):
        return torch.as_tensor(ridge_fit(Z, y, w, lam)[1])

    if beta(0.0).norm() <= k:
        return 0.0, beta(0.0)  # short enough as it is: the budget costs nothing
    low, high = 0.0, 1.0
    while beta(high).norm() > k:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if beta(middle).norm() > k else (low, middle)
    return high, beta(high)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_fit.in_ball"}
check("lime_fit.in_ball")

# %% xaiteach={"role": "demo"}
if ready("lime_fit.in_ball"):
    for k in (0.5, 2.0, 5.0, 100.0):
        lam, slopes = (torch.as_tensor(part) for part in in_ball(Z, scores, weights, k))
        print(f"k = {k:>5}: lambda {float(lam):8.3f}, length {float(slopes.norm()):.2f}")

# %% [markdown]
# $\lambda$ is the price of the budget: how fast the misfit falls as $k^2$ grows. A budget that is not spent has the price 0. And nothing here became exactly zero: a ball has no corners. Unit 05 takes sets that have some.

# %% [markdown]
# {{ item lime_fit.predict_worth }}
#
# 1000 samples of 20 features, each with noise of $\sigma = 1$, are weighted by $e^{-d^2/w^2}$ with $w = 1$, where $d$ is their
# distance from $x_0$. As many equally weighted samples would be worth as much as these 1000: how many? Set `predict_worth`.

# %% xaiteach={"role": "answer", "question": "lime_fit.predict_worth"}
### BEGIN SOLUTION
predict_worth = 300  # as if a weight cost a sample a part of its worth
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_fit.predict_worth"}
check("lime_fit.predict_worth")

# %% xaiteach={"role": "demo"}
for n in (1, 5, 20, 40):
    distances = torch.randn(1000, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64).norm(dim=1)
    kernel = torch.exp(-(distances**2))
    worth = float(kernel.sum() ** 2 / (kernel**2).sum())
    print(f"{n:>2} features: the 1000 samples are worth {worth:.1f}")
print(f"you predicted {'nothing' if predict_worth is ... else predict_worth} for 20")

# %% [markdown]
# With 20 features a fit of 21 unknowns stands on six samples, and nothing in its output says so. The network above has 40
# features: its width of 2 beside a noise of 0.3 was chosen with care.

# %% [markdown]
# {{ item lime_fit.reading }}
#
# Set `reading` to an answer, in three to six sentences: what does a coefficient of LIME say, and what would you want to know
# before you trust it?

# %% xaiteach={"role": "answer", "question": "lime_fit.reading"}
### BEGIN SOLUTION
reading = """
It is a slope of the plane that fits the scores of perturbed samples best, in the mean of weighted squares. Which slope
depends on how far the samples reach and how fast the weights fall: it is a gradient smoothed over that neighbourhood, so
that another width asks another question. What is approximated is the score around x0 and not the boundary of the class.
The plane must have an intercept, or the height of the score leaks into the slopes and even a constant gets an
explanation. Before I trust it I want its fidelity on fresh samples, since on its own it can be perfect by having as many
unknowns as samples, and what the weighted samples are worth, since a thousand can be worth three.
"""
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_fit.reading"}
check("lime_fit.reading")

# %% [markdown]
# ## Stretch
#
# What follows is beyond the core of the unit.

# %% [markdown]
# {{ item lime_fit.multiplier }}
#
# A friend writes the same ball as $\lVert\beta\rVert - k \le 0$, with multiplier $\mu$, and finds the same $\beta$. What is
# $\mu$, where the ball cuts? Set `multiplier` to a formula in `lambda` and `k`, in quotes.

# %% xaiteach={"role": "answer", "question": "lime_fit.multiplier"}
### BEGIN SOLUTION
multiplier = "2*k*lambda"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_fit.multiplier"}
check("lime_fit.multiplier")

# %% [markdown]
# {{ item lime_fit.effective_size }}
#
# Write `effective_size(w)`: how many equally weighted samples would give a mean that varies as little as the mean with
# weights `w`, (N,). All weights are 0 or above; only their ratios may matter.


# %% xaiteach={"role": "answer", "question": "lime_fit.effective_size"}
def effective_size(w):
    ### BEGIN SOLUTION
    return w.sum() ** 2 / (w**2).sum()
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "lime_fit.effective_size"}
check("lime_fit.effective_size")

# %% [markdown]
# {{ item lime_fit.smoothed }}
#
# Noise of density $\propto e^{-\epsilon^2/(2\sigma^2)}$ in each feature, weighted by $e^{-\epsilon^2/w^2}$, is again normal. Set
# `smoothed` to its standard deviation: a formula in `sigma` and `w`, in quotes.

# %% xaiteach={"role": "answer", "question": "lime_fit.smoothed"}
### BEGIN SOLUTION
smoothed = "1/sqrt(1/sigma^2 + 2/w^2)"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "lime_fit.smoothed"}
check("lime_fit.smoothed")

# %% xaiteach={"role": "demo"}
if ready("lime_fit.smoothed") and ready("lime_fit.local_fit"):

    def slope_at(point):
        leaf = point.float().requires_grad_()
        return torch.autograd.grad(model(leaf[None, None])[0, predicted], leaf)[0].double()

    spread = float(parse(smoothed, ["sigma", "w"]).value({"sigma": 0.3, "w": 2.0}))
    draws = torch.randn(500, 40, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    mean = torch.as_tensor(smoothgrad(slope_at, x0.double(), spread * draws))
    for N in (100, 1000, 10_000):
        slopes = torch.as_tensor(local_fit(*around(N, seed=5))[1])
        alike = float(torch.nn.functional.cosine_similarity(slopes, mean, dim=0))
        print(f"LIME of {N:>6} samples beside SmoothGrad of spread {spread:.3f}: cosine {alike:.3f}")

# %% [markdown]
# For normal noise the slope of the best plane *is* the mean of the gradients (Stein's lemma). So LIME on features, with enough
# samples, is SmoothGrad that asks for scores alone: it needs no gradient, and many more questions.

# %% [markdown]
# ## What would be handed in
#
# Save first (Ctrl+S). The cell below compares the saved file with what you last checked, runs it from a fresh start, and
# writes a receipt.

# %% xaiteach={"role": "demo"}
receipt("04_lime_fit")
