# %% [markdown]
# # 04 · LIME: a plane through a score
#
# **Goals.** Explain a model that can only be asked; see that the plane's slopes belong to a neighbourhood that you choose, why
# it needs an intercept, when its samples are worth nothing, and how to tell.
#
# **You need** units 00 and 01. **Time** 30 minutes, with one exploration. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, explain, lime, models, plots

# %% [markdown]
# ## A model that can only be asked
#
# Gradients need the network's inside. Often there is none to be had: a service on the web, a forest of trees. LIME (Ribeiro and
# others, 2016) asks for scores and nothing else: it *perturbs* the input, *weighs* what lies near, and *fits* a plane.
#
# Here is a score of one input, and the line that LIME fits at $x_0 = 1$ under three kernel widths. **Predict:** which of the
# three lines will touch the curve at $x_0$?


# %% xaiteach={"role": "setup"}
def bump(x):
    return torch.exp(-((x - 1.5) ** 2)) + 0.1 * x


samples = 1.0 + 2.0 * torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
noise, scores = (samples - 1.0)[:, None].numpy(), bump(samples).numpy()

# %% xaiteach={"role": "demo"}
grid = torch.linspace(-1.5, 4.5, 49, dtype=torch.float64)
lines = {"score": plots.Series(bump(grid).tolist())}
for width in (0.3, 1.0, 4.0):
    fit = lime.LeastSquares().fit(noise, scores, sample_weight=lime.gaussian_kernel(noise[:, 0], width))
    line = fit.intercept_ + fit.coef_[0] * (grid - 1.0)
    line[(grid - 1.0).abs() > max(width, 0.5)] = float("nan")  # drawn only where it was fitted
    lines[f"w = {width}"] = plots.Series(line.tolist())
    print(f"w = {width}: slope {fit.coef_[0]:+.2f}, height at x0 {fit.intercept_:.2f}")
print(f"the score itself: height at x0 {float(bump(torch.tensor(1.0))):.2f}")
plots.curves(lines, grid.tolist(), x_label="x", y_label="score", title="One score, one point, three explanations")

# %% [markdown]
# The narrowest one nearly touches; the widest passes far below, and nearly flat. None is wrong: each answers for another
# neighbourhood. *Local* is not a property of LIME, it is a number that you choose.

# %% [markdown]
# ## The line needs a height
#
# The homework's formula has no intercept: its line goes through the origin. **Predict:** a model that always says 1 is
# explained at $x_0 = (3, 0)$. What do the two inputs get?

# %% xaiteach={"role": "demo"}
x0 = torch.tensor([3.0, 0.0])
for name, raw in (("as it is printed", True), ("about x0, with intercept", False)):
    solver = lime.LeastSquares(fit_intercept=not raw)
    generator = torch.Generator().manual_seed(1)
    around = lime.gaussian_neighbourhood(
        lambda x: torch.ones(len(x)), x0, sigma=1.0, n_samples=2000, raw=raw, generator=generator
    )
    coefficients = [abs(round(float(c), 2)) for c in around.explain(solver).coef]
    print(f"{name:<25} {coefficients}")

# %% [markdown]
# An explanation of nothing, because zero happens to be three steps away. In the exercises you derive how large it is.

# %% [markdown]
# ## A network, asked 2000 times
#
# Unit 01's network reads signals of 40 points. LIME perturbs each point and fits 40 slopes; beside it the gradient, which LIME
# never sees.

# %% xaiteach={"role": "setup"}
model = models.load("convnet1d")
signals = data.mnist1d()
x = torch.tensor(signals.x_test[0])
with torch.no_grad():
    c = int(model(x[None, None]).argmax())


def score(batch):
    with torch.no_grad():
        return model(batch[:, None])[:, c]


def asked(n_samples, seed=0, sigma=0.3, width=2.0):
    generator = torch.Generator().manual_seed(seed)
    return lime.gaussian_neighbourhood(score, x, sigma=sigma, n_samples=n_samples, width=width, generator=generator)


# %% xaiteach={"role": "demo"}
explanation = asked(2000).explain()
gradient = explain(model, x[None, None], target=c, method="saliency").map[0]
alike = torch.nn.functional.cosine_similarity(gradient, explanation.values.float(), dim=0)
print(f"{explanation}; cosine to the gradient {float(alike):.2f}")
plots.compare(
    [gradient, explanation.values.float()], ["gradient", "LIME, 2000 samples"], signed=True, units="logit per unit"
)

# %% [markdown]
# Much of the gradient is there, smoothed: noise of 0.3 in 40 points at once crosses many edges of the network.

# %% [markdown]
# ## What are the samples worth?
#
# A sample's weight falls with its distance, and in many dimensions every sample is far. Below, the score reads two inputs; you
# may sample more, which it does not read. The second picture shows where the weight of all samples lies. **Predict:** with
# $\sigma = w = 1$ and 20 features, how many of 1000 samples will carry half of the weight?

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import lime_sampling

lime_sampling()

# %% [markdown]
# Read it aloud: *a thousand samples, worth three.* The fit does not complain: it returns slopes, also for inputs that the score
# never reads. And when the samples are worth their number, the slopes agree with SmoothGrad (unit 01) of a spread that follows
# from $\sigma$ and $w$. LIME on features is SmoothGrad that asks instead of differentiating.

# %% [markdown]
# ## Tested where it was not fitted
#
# *Fidelity* is a weighted $R^2$: 1 where the plane is the score, 0 where it is no better than a constant. **Predict:** 50 samples,
# 41 unknowns. How good will the plane be on those 50, and on fresh ones?

# %% xaiteach={"role": "demo"}
fresh = asked(5000, seed=99)
for n_samples in (50, 100, 400, 2000):
    found = asked(n_samples).explain()
    print(f"{n_samples:>4} samples: {found.fidelity:.2f} on its own, {found.fidelity_on(fresh):+.2f} on fresh ones")

# %% [markdown]
# Below 0: worse than a constant, with a picture as pretty as any. Always ask for fidelity on fresh samples.

# %% [markdown]
# ## A budget for the slopes
#
# With few samples, slopes can be kept short: $\lVert\beta\rVert \le k$. Each budget has its price $\lambda$.

# %% xaiteach={"role": "demo"}
few = asked(100)
free = float(torch.tensor(few.explain().coef).norm())
for share in (1.0, 0.7, 0.4, 0.1):
    found = few.explain(lime.Ridge(k=share * free))
    print(
        f"budget {share:>4.0%} of the free length: lambda {found.solver.lambda_:8.3f}, fidelity on fresh samples {found.fidelity_on(fresh):+.2f}"
    )

# %% [markdown]
# Less freedom, more truth, up to a point. A ball shortens all slopes and sets none to zero; for an explanation of three features a
# person can read, unit 05 takes other sets.
#
# Now fit it yourself: `exercises/04_lime_fit.ipynb`.
