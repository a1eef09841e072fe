# %% [markdown]
# # 02 · Grad-CAM, from one gradient to a scored map
#
# **Goals.** Derive the weights of Grad-CAM from the gradient of one score; read a map and its signs; score maps against
# a mask that we know, beside controls that never saw the class.
#
# **You need** unit 00 and the chain rule. **Time** 30 minutes. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, explain, models, plots
from xaiteach.checks import mine

energy_share = mine("start_here.energy_share")
model = models.load("crops_cnn")
crops = data.crops(split="test")
pair = crops.pairs[0]
cat, coffee = crops.class_names.index("cat"), crops.class_names.index("coffee")

# %% [markdown]
# ## The last feature maps
#
# A convolutional network turns the image into feature maps $A \in \mathbb{R}^{K \times d_1 \times d_2}$, then into class
# scores $s_c$ (logits), then into probabilities $y = \mathrm{softmax}(s)$. Between $A$ and $s$ there are few layers, so
# $A$ still says *where*, and is already close to *what*.
#
# We write $K$ for the number of maps and $V$ for the class matrix; other texts write $m$ and $W$.

# %% xaiteach={"role": "demo"}
with torch.no_grad():
    A = model.features(pair.x)[0]  # (K, d1, d2)
total = A.sum((1, 2))
left = A[:, :, :8].sum((1, 2)) / total.clamp(min=1e-9)  # share of each map in the left half
left[total < total.median()] = float("nan")  # only the more active maps
order = [k for k in left.argsort(descending=True).tolist() if left[k] == left[k]]
shown = [*order[:2], *order[-2:]]
print(f"{A.shape[0]} maps of {A.shape[1]} by {A.shape[2]} positions")
plots.compare([A[k] for k in shown], [f"map {k}" for k in shown], units="activation")

# %% [markdown]
# Read it aloud: *the first two maps are active mostly on the left, the last two mostly on the right.* Each map has its own
# places, and none of them knows about a class. What is missing is a weight for each map that says how much class $c$
# cares about it.

# %% [markdown]
# ## From a gradient to weights
#
# How much does $s_c$ rise when $A^k_{ij}$ rises a little? That is $\partial s_c / \partial A^k_{ij}$. Grad-CAM averages it
# over the $Z = d_1 d_2$ positions of a map:
#
# $$\alpha^c_k = \frac{1}{Z}\sum_{i,j}\frac{\partial s_c}{\partial A^k_{ij}}, \qquad
# L^c = \mathrm{ReLU}\Big(\sum_k \alpha^c_k A^k\Big).$$
#
# This network averages each map before its linear layer, so $\partial s_c/\partial A^k_{ij} = V_{ck}/Z$ at every position.
# The next cell checks that.

# %% xaiteach={"role": "demo"}
leaf = model.features(pair.x).detach().requires_grad_()
scores = model.classifier(leaf.mean((2, 3)))[0]
(gradient,) = torch.autograd.grad(scores[coffee], leaf)
Z = leaf[0, 0].numel()
print("same at every position:", torch.allclose(gradient, gradient[:, :, :1, :1].expand_as(gradient)))
print("equal to V / Z:", torch.allclose(gradient[0, :, 0, 0], model.classifier.weight[coffee] / Z))

# %% [markdown]
# Two readings of $Z$ go round. In the paper it is the number of positions. A rule that asks for
# $\sum_k \alpha_k = 1$ divides by the sum of the weights instead. Where that sum is negative, the picture turns into the
# evidence *against* the class. **Predict:** for how many of the ten classes of this network is it negative?

# %% xaiteach={"role": "demo"}
sums = model.classifier.weight.detach().sum(1) / Z  # sum of alpha_k for each class
print(f"{int((sums < 0).sum())} of {len(sums)} sums are negative")

# %% [markdown]
# All of them: in this network that "normalisation" turns every map into its opposite.

# %% [markdown]
# ## Two classes in one picture
#
# **Predict:** the network sees cat and coffee at once. Will the two maps split the picture between them, or overlap?

# %% xaiteach={"role": "demo"}
maps = explain(model, pair.x.repeat(2, 1, 1, 1), target=[cat, coffee], method="grad_cam")
left, right = maps.map[:, :, :64], maps.map[:, :, 64:]
print(f"larger for the cat than for coffee: {(left[0] > left[1]).double().mean():.0%} of the left half,", end=" ")
print(f"{(right[0] > right[1]).double().mean():.0%} of the right")
plots.compare(list(maps.map), ["for the cat", "for the coffee"], image=pair.x[0], units=maps.units)

# %% [markdown]
# They overlap. Read it aloud: *the map for coffee lies mostly on the coffee. The map for the cat spreads over the whole
# picture, and its peak even lies just across the border, on the coffee's half.* Seen alone it would say little.
#
# On one scale the two do tell the classes apart: almost everywhere on the left the cat's map is the larger, almost
# everywhere on the right the coffee's. A single map, scaled to its own maximum, cannot show that.

# %% [markdown]
# ## A score needs controls
#
# Two crops side by side come with a mask: `pair.mask` is true on the half of the class `pair.y`, here the coffee. So a map
# for that class can be scored by the share of it that lies inside the mask. A map that knows nothing gets the mask's
# share of the area, one half. A second control is $\sum_k A^k$: it knows the picture, but never saw a class.

# %% xaiteach={"role": "demo"}
mask = torch.from_numpy(pair.mask)
target = explain(model, pair.x, target=pair.y, method="grad_cam").map[0]
blind = torch.nn.functional.interpolate(A.sum(0)[None, None], size=mask.shape, mode="bilinear")[0, 0]
noise = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0))
for name, heat in (("Grad-CAM", target), ("sum of A, no class", blind), ("random", noise)):
    print(f"{name:<20} {float(energy_share(heat, mask)):.2f}")

# %% [markdown]
# A map earns something only by what it adds to its controls. Now derive the pieces yourself:
# `exercises/02_gradcam.ipynb`.
