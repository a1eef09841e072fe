# %% [markdown]
# # 02 · Grad-CAM: exercises
#
# **Goals.** The gradient of a score with respect to the feature maps, by hand; the weights it gives to the maps of a
# trained network; where those weights go blind.
#
# **You need** `notebooks/02_gradcam.ipynb`. **Time** 25 minutes. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, models, plots
from xaiteach.checks import check, hint, ready, solution

model = models.load("crops_cnn")
crops = data.crops(split="test")
pair = crops.pairs[0]  # a cat on the left, coffee on the right
cat, coffee = crops.class_names.index("cat"), crops.class_names.index("coffee")

# %% [markdown]
# {{ item gradcam.logit_gradient }}
#
# Feature maps $A$ of shape (K, d1, d2) are flattened to $z = \mathrm{vec}(A)$, channel by channel, row by row, and
# $s = Vz + b$. So `V` has shape (C, K·d1·d2) here, one weight for each class, map and position; `b` has shape (C,).
#
# Write `logit_gradient(A, V, b, c)`: the gradient $\partial s_c/\partial A$, a tensor of A's shape. Derive it on paper
# first. Please without automatic differentiation: the formula is one line.


# %% xaiteach={"role": "answer", "question": "gradcam.logit_gradient"}
def logit_gradient(A, V, b, c):
    ### BEGIN SOLUTION
    # s_c = sum_p V[c, p] z[p] + b[c], so ds_c/dz is row c of V; z runs channel, row, column, as reshape does
    return V[c].reshape(A.shape)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradcam.logit_gradient"}
check("gradcam.logit_gradient")

# %% [markdown]
# **What it tells you.** For a linear head the gradient of a logit does not depend on $A$, and no other class appears in
# it. The gradient of the *probability* would: it compares $c$ with its rivals.

# %% [markdown]
# {{ item gradcam.alpha_gap }}
#
# Now the trained network of the lesson, whose head averages each map. Grad-CAM's weight of map $k$ for class $c$ is
# $\alpha^c_k = \frac{1}{Z}\sum_{ij} \partial s_c/\partial A^k_{ij}$, where $Z$ is the number of positions.
#
# For each map: is $\alpha_k$ larger for the cat or for the coffee? Set `alpha_gap` to $\alpha^{cat}_k -
# \alpha^{coffee}_k$ for all K maps, shape (K,). A positive entry means: this map speaks for the cat. The cell below gives
# you `A` and the logits `scores`; use automatic differentiation. Both gradients run back through one graph, so ask for
# `retain_graph=True`.

# %% xaiteach={"role": "setup"}
A = model.features(pair.x).detach().requires_grad_()  # (1, K, d1, d2)
scores = model.classifier(A.mean((2, 3)))[0]  # (C,) logits

# %% xaiteach={"role": "answer", "question": "gradcam.alpha_gap"}
### BEGIN SOLUTION
alpha = [torch.autograd.grad(scores[c], A, retain_graph=True)[0][0].mean((1, 2)) for c in (cat, coffee)]
alpha_gap = alpha[0] - alpha[1]
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.alpha_gap"}
check("gradcam.alpha_gap")

# %% xaiteach={"role": "demo"}
if ready("gradcam.alpha_gap"):
    gap = torch.as_tensor(alpha_gap)
    k_cat, k_coffee = int(gap.argmax()), int(gap.argmin())
    print(f"{int((gap > 0).sum())} of {len(gap)} maps speak more for the cat.")
    maps = [A.detach()[0, k] for k in (k_cat, k_coffee)]
    display(plots.compare(maps, [f"most for cat: map {k_cat}", f"most for coffee: map {k_coffee}"], units="activation"))

# %% [markdown]
# Look where the two maps are active. The map that speaks most for the cat may well be active on the coffee's half, too: a
# weight says how much a class cares about a map, wherever it is active. Only the map itself says where.

# %% [markdown]
# {{ item gradcam.blank_head }}
#
# Grad-CAM can be blank although the score depends on $A$: changing $A$ changes $s_c$, and yet every $\alpha_k$ is zero.
# For which of these heads does that happen? Set `blank_head` to the letter, in quotes.
#
# {{ options gradcam.blank_head }}

# %% xaiteach={"role": "answer", "question": "gradcam.blank_head"}
### BEGIN SOLUTION
blank_head = "b"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.blank_head"}
check("gradcam.blank_head")

# %% [markdown]
# **The lesson of it.** Grad-CAM sees the gradient only through its average over the positions. Where a class weighs
# places *against* each other, that average is empty. Multiply gradient and activation position by position instead, and
# sum over $k$ only then (HiResCAM): for a linear head on the flattened maps, that map adds up to $s_c - b_c$ over all
# positions, exactly.
