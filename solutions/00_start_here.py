# %% [markdown]
# # 00 · Start here: exercises
#
# **Goals.** Answer one question, see how a check speaks, and keep the function for the units to come; then find out, in four
# short questions, whether what the course takes for granted is at hand.
#
# **You need** `notebooks/00_start_here.ipynb`. **Time** 17 minutes. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach.widgets import check, hint, progress, ready, receipt, solution

# %% [markdown]
# {{ item start_here.energy_share }}
#
# An explanation of an image is a map: one number for each pixel. When we know where the object is, we can ask how much of
# the map lies on it.
#
# Write `energy_share(heat, mask)`. `heat` is a tensor of shape (H, W) with no negative numbers; `mask` has the same shape
# and is `True` on the object. Return the share of the map's total that lies inside the mask: a number between 0 and 1.
# The total is never zero here. Leave `heat` as it is: whoever calls you may still need it.


# %% xaiteach={"role": "answer", "question": "start_here.energy_share"}
def energy_share(heat, mask):
    ### BEGIN SOLUTION
    return heat[mask].sum() / heat.sum()
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "start_here.energy_share"}
check("start_here.energy_share")

# %% [markdown]
# ## See what it does
#
# The same map under two masks. Before you run the cell: which share is larger, and what do the two add up to?

# %% xaiteach={"role": "demo"}
if ready("start_here.energy_share"):
    heat = torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 6.0]])
    right = torch.tensor([[False, False, True], [False, False, True]])
    print(f"right column {energy_share(heat, right):.2f}, the rest {energy_share(heat, ~right):.2f}")

# %% [markdown]
# A mask and its complement always share the whole. So a share says something only beside what chance would give: the
# mask's share of the *area*, here one third. You will meet this function again: in later units
# `mine("start_here.energy_share")` brings back what you wrote here.

# %% [markdown]
# ## A diagnostic
#
# Four questions on what every later unit uses. If one gives you trouble, its refresher is at the end of the lesson,
# `notebooks/00_start_here.ipynb`: five minutes there are saved many times over.

# %% [markdown]
# {{ item start_here.chain_rule }}
#
# $f(x) = e^{-(wx + b)^2}$. Set `chain_rule` to its derivative by $x$: a formula in `x`, `w` and `b`, as text in quotes. Every
# product needs its `*`, `^` is a power, and `exp` is a function: `"3*exp(w*x)^2"`.

# %% xaiteach={"role": "answer", "question": "start_here.chain_rule"}
### BEGIN SOLUTION
chain_rule = "-2*w*(w*x + b)*exp(-(w*x + b)^2)"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "start_here.chain_rule"}
check("start_here.chain_rule")

# %% xaiteach={"role": "demo"}
from xaiteach.questions.formulas import parse

if ready("start_here.chain_rule"):
    formula = parse(chain_rule, ["x", "w", "b"])
    print("read as:", formula)
    for x in (-1.0, 0.0, 0.5, 1.0):
        print(
            f"at x = {x:+.1f}, with w = 2 and b = -1, the slope is {float(formula.value({'x': x, 'w': 2.0, 'b': -1.0})) + 0.0:+.2f}"
        )

# %% [markdown]
# It is 0 where the bell has its top, and almost 0 far from it. A slope of zero can mean either; unit 01 makes much of that.

# %% [markdown]
# {{ item start_here.unrolled }}
#
# A tensor `A` of shape (K, d1, d2) holds K maps. `z = A.flatten()` is one long vector. At which place of `z`, counted from 0,
# stands `A[k, i, j]`? Set `unrolled` to a formula in `k`, `i`, `j` and the sizes, in quotes.

# %% xaiteach={"role": "answer", "question": "start_here.unrolled"}
### BEGIN SOLUTION
unrolled = "k*d1*d2 + i*d2 + j"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "start_here.unrolled"}
check("start_here.unrolled")

# %% xaiteach={"role": "demo"}
if ready("start_here.unrolled"):
    A = torch.arange(24).reshape(2, 3, 4)  # each entry is its own place
    formula = parse(unrolled, ["k", "i", "j", "K", "d1", "d2"])
    sizes = {"K": 2, "d1": 3, "d2": 4}
    for k, i, j in ((0, 0, 3), (0, 2, 0), (1, 1, 2)):
        place = int(formula.value({"k": k, "i": i, "j": j, **sizes}))
        print(f"A[{k}, {i}, {j}] is {int(A[k, i, j])}; your formula says {place}")

# %% [markdown]
# {{ item start_here.broadcasting }}
#
# `alpha` has shape (4,), `A` holds 4 maps of 4 by 4: shape (4, 4, 4). Which line computes $\sum_k \alpha_k A^k$? All of them
# run. Set `broadcasting` to its letter.
#
# {{ options start_here.broadcasting }}

# %% xaiteach={"role": "answer", "question": "start_here.broadcasting"}
### BEGIN SOLUTION
broadcasting = "b"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "start_here.broadcasting"}
check("start_here.broadcasting")

# %% [markdown]
# {{ item start_here.input_slope }}
#
# Write `input_slope(f, x)`: the gradient of `f` at `x`, by automatic differentiation. `f` takes a tensor of shape (n,) and returns
# one number; `x` has shape (n,). Leave `x` as it was handed in.


# %% xaiteach={"role": "answer", "question": "start_here.input_slope"}
def input_slope(f, x):
    ### BEGIN SOLUTION
    leaf = x.detach().clone().requires_grad_()  # a copy: the caller's x stays as it is
    return torch.autograd.grad(f(leaf), leaf)[0]
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "start_here.input_slope"}
check("start_here.input_slope")

# %% xaiteach={"role": "demo"}
if ready("start_here.input_slope") and ready("start_here.chain_rule"):
    slope = input_slope(lambda x: torch.exp(-((2 * x - 1) ** 2)).sum(), torch.tensor([-1.0, 0.0, 0.5, 1.0]))
    print("the slopes from above, by PyTorch:", [round(float(value), 2) + 0.0 for value in slope])

# %% [markdown]
# ## What would be handed in
#
# `progress()` says how far you are in the whole course. The last cell compares the saved notebook with what you last
# checked, runs it from a fresh start, and writes a receipt with a hash. Save first (Ctrl+S).

# %% xaiteach={"role": "demo"}
progress()

# %% xaiteach={"role": "demo"}
receipt("00_start_here")
