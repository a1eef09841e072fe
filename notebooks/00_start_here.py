# %% [markdown]
# # 00 · Start here
#
# **Goals.** See one explanation of one picture, and learn how the exercises of this course work.
#
# **You need** Python and a little PyTorch. **Time** 10 minutes, and 10 more for the refreshers where you need them. **Machine** any CPU; a GPU is used where there is one.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, explain, models, plots
from xaiteach.widgets import check, hint, solution

# %% [markdown]
# ## A network that looks at two things
#
# The network below was trained on small crops of ten pictures. We show it two crops at once: on the left the eye of a
# cat, on the right a spoon on the red table of a picture of a cup of coffee.
#
# For each class the network gives a *score*: the higher, the more it believes in the class. *Where in the picture does
# the score for "coffee" come from?* Grad-CAM, which unit 02 derives, answers with a map: one number for each place.

# %% xaiteach={"role": "demo"}
model = models.load("crops_cnn")
crops = data.crops(split="test")
pair = crops.pairs[0]
coffee = crops.class_names.index("coffee")
explanation = explain(model, pair.x, target=coffee, method="grad_cam")
explanation.plot(pair.x, title="Grad-CAM for coffee")

# %% [markdown]
# Read it aloud: *the score for coffee rests mostly on the right half, where the picture of the coffee is.* Under every figure of this
# course stands a line that reads it from the same numbers, for those who do not see the colours. Its *weight* is the
# sum of the map's absolute values; rows and columns count from 0.
#
# A bright place means *more than elsewhere in this map*. It does not mean "important" in any absolute sense, and two maps
# that were each scaled to their own maximum cannot be compared.

# %% [markdown]
# ## How an exercise works
#
# 1. **Predict** before you run. A wrong prediction teaches most.
# 2. **Write** the few lines that are asked. A blank is written `...`, and an untouched notebook runs to its end.
# 3. **Check** with the call under the cell. It says right, or which mistake your answer looks like; a known mistake may
#    earn part of the points.
# 4. **Hints** come in three steps and cost nothing; after a try the model answer opens, where your release has it: with
#    the buttons under a check, or `hint("start_here.energy_share")` and `solution("start_here.energy_share")`.
# 5. **Hand in** the saved file; the last cell of each exercise says what that would be.
#
# Here is a wrong answer, on purpose:


# %% xaiteach={"role": "demo"}
def energy_share(heat, mask):
    return heat[mask].mean() / heat.mean()


check("start_here.energy_share")

# %% [markdown]
# The check found more than "wrong": it knows this mistake, says what it computes, and shows the smallest case that
# fails. What you checked is kept in a history in your course folder, so nothing you tried is lost.

# %% xaiteach={"role": "demo"}
hint("start_here.energy_share", step=1)

# %% [markdown]
# ## Your turn
#
# Open `exercises/00_start_here.ipynb`: one question to see how it works, then four that show whether you have at hand what the
# course builds on. What follows are refreshers for those four; read one when you need it. After that go on with
# `notebooks/01_gradients.ipynb`.

# %% [markdown]
# ## Refresher 1: the chain rule
#
# If $u$ changes $a$ times as fast as $x$, and $f$ changes $b$ times as fast as $u$, then $f$ changes $ab$ times as fast as $x$.
# For $f = \sin(u)$, $u = 3x^2$: $f' = \cos(u)\cdot 6x$. Outer derivative, at the inner value, times inner derivative. With more
# steps there are more factors. That is all that a network's gradient is: one factor for each layer, from the score back to
# the input.

# %% xaiteach={"role": "demo"}
x = 0.4
inner, outer = 6 * x, float(torch.cos(torch.tensor(3 * x**2)))
step = 1e-4
ends = torch.sin(3 * torch.tensor([x + step, x - step], dtype=torch.float64) ** 2)
print(f"by the rule {outer * inner:.4f}, by a small step {float(ends[0] - ends[1]) / (2 * step):.4f}")

# %% [markdown]
# ## Refresher 2: the order of a tensor's entries
#
# A tensor lies in memory as one long row, and the *last* index runs first. `reshape` and `flatten` keep that order; only `permute`
# and `T` change which index is which. A weight vector learnt on a flattened layer must be folded back in the same order, or
# a heat map is scrambled without any error.

# %% xaiteach={"role": "demo"}
A = torch.arange(12).reshape(2, 2, 3)
print("two maps:", A.tolist())
print("unrolled:", A.flatten().tolist())
print("channels running first:", A.permute(1, 2, 0).flatten().tolist())

# %% [markdown]
# ## Refresher 3: broadcasting
#
# Two shapes are lined up from the *right*. Axes of length 1, and missing ones on the left, are stretched. `a[:, None]` adds an
# axis of length 1. Where two wrong axes happen to have the same length nothing complains: write shapes down.

# %% xaiteach={"role": "demo"}
table, each_row = torch.ones(2, 2), torch.tensor([1.0, 10.0])
print("lined up from the right, it meets the columns:", (table * each_row).tolist())
print("with an axis behind it, the rows:", (table * each_row[:, None]).tolist())

# %% [markdown]
# ## Refresher 4: gradients by PyTorch
#
# PyTorch keeps the way back only for tensors that ask for it. Ask on a copy, so that nobody else's tensor changes; then
# `torch.autograd.grad(value, leaf)` returns a tuple with one gradient, of the leaf's shape. The value must be one number; of many,
# take the sum.

# %% xaiteach={"role": "demo"}
x = torch.tensor([1.0, 2.0])
leaf = x.clone().requires_grad_()
(gradient,) = torch.autograd.grad((leaf**3).sum(), leaf)
print(f"3 x^2 at {x.tolist()} is {gradient.tolist()}; x itself asks for nothing: {x.requires_grad}")
