# %% [markdown]
# # 02 · Grad-CAM, from one gradient to a scored map
#
# **Goals.** Derive the weights of Grad-CAM from the gradient of one score; read a map and its signs; score maps against
# a mask that we know, beside controls that never saw the class.
#
# **You need** units 00 and 01. **Time** 35 minutes, with three explorations. **Machine** any CPU.

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
# We write $K$ for the number of maps and $V$ for the class matrix; other texts write $m$ and $W$. The maps come out of a
# ReLU, so $A \ge 0$.

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
# Two readings of $Z$ go round. In the paper (Selvaraju et al., 2017) it is the number of positions. A rule that asks for
# $\sum_k \alpha_k = 1$ divides by the sum of the weights instead, and that is another thing: where the sum is negative,
# the picture turns into the evidence *against* the class. How often that happens in this network you will find out in
# the exercises.

# %% [markdown]
# ## The pieces
#
# Each product $\alpha_k A^k$ is a small picture; the heat map is the sum of 48 of them. Which of them make it?
#
# **Predict:** take only the three channels with the largest weights $\alpha_k$. Will the peak of their sum lie where the
# peak of the whole map lies?
#
# Then move: every control works from the keyboard (Tab, arrows, Home, End, Space). Keep three channels of your own choice.

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import gradcam_pieces

gradcam_pieces()

# %% [markdown]
# Read it aloud: *channel 22 is bright on the right half and has a positive weight, so its product is bright there, too.*
# (The crop called "astronaut" shows the space shuttle behind her.) The three largest weights put the peak on the gravel:
# the weight says how much the class cares about a feature, not whether the feature is there. Take the ReLU away and look
# at what the cut had hidden. Then switch to the probability: its weights compare class $c$ with the other classes, each
# as much as the network believes in it.

# %% [markdown]
# ## Two classes in one picture
#
# **Predict:** cat and coffee are both in the picture. Will their two maps split the picture between them, or overlap?

# %% xaiteach={"role": "demo"}
maps = explain(model, pair.x.repeat(2, 1, 1, 1), target=[cat, coffee], method="grad_cam")
left, right = maps.map[:, :, :64], maps.map[:, :, 64:]
print(f"larger for the cat than for coffee: {(left[0] > left[1]).double().mean():.0%} of the left half,", end=" ")
print(f"{(right[0] > right[1]).double().mean():.0%} of the right")
with torch.no_grad():
    y = model(pair.x)[0].softmax(0)
first = crops.class_names[int(y.argmax())]
print(f"the network itself: cat {y[cat]:.0%}, coffee {y[coffee]:.0%}; its first choice is {first}, {y.max():.0%}")
plots.compare(list(maps.map), ["for the cat", "for the coffee"], image=pair.x[0], units=maps.units)

# %% [markdown]
# They overlap. Read it aloud: *the map for coffee lies mostly on the coffee. The map for the cat spreads over the whole
# picture, and its peak even lies just across the border, on the coffee's half.* Seen alone it would say little.
#
# The network itself believes in the coffee only. A map says what speaks for $c$, for any class we name: look at $y_c$
# beside it.
#
# On one scale the two do tell the classes apart: almost everywhere on the left the cat's map is the larger, almost
# everywhere on the right the coffee's. A map scaled to its own maximum cannot show that.

# %% [markdown]
# ## Does the map follow the class?
#
# Now all ten classes on all fourteen pictures. Where the class is in the picture, its half is outlined, and the share of
# the map that lies in it stands beside two controls: chance, and the sum of all maps, which never saw a class.
#
# **Predict:** is there a picture for which the network is sure of a class, and its map for that class lies mostly on the
# *other* object?

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import class_slider

class_slider()

# %% [markdown]
# Read it aloud: *86 % of the map for coffee lies on the coffee; the sum of all maps has 69 % there, chance 50 %.* With
# "It fails" you see the other kind: the network gives "astronaut" 94 %, and its map lies on the retina. The map is not at
# fault. The astronaut's training crops were mostly orange suit.
#
# Read $y_c$ with it: this network was trained on single crops, and on two at once the class on the right is its first
# choice for only 4 of the 14 pictures. Most of these maps explain a class that the network would not name.

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
# A map earns something only by what it adds to its controls.

# %% [markdown]
# ## Which score?
#
# Grad-CAM may explain the logit $s_c$ or the probability $y_c$. The probability compares $c$ with its rivals:
#
# $$\frac{\partial y_c}{\partial A} = y_c \sum_j y_j\,\frac{\partial (s_c - s_j)}{\partial A}.$$
#
# Where the network is sure, all of $y_j$ but $y_c$ are tiny, and so is this gradient; its *picture*, scaled to its own
# maximum, need not be blank.
#
# Now let somebody add one and the same vector $v$ to every row of $V$, fitted so that the logit's map of this one picture
# follows a target that you paint. **Predict:** which of the network's predictions will change?

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import paint_explanation

paint_explanation(strength=1.0)

# %% [markdown]
# Read it aloud: *with $v$ added, the map for coffee has moved towards the O painted on the left, and no probability has
# changed.* Every logit grew by the same number, which softmax does not see. The likeness is not perfect: a map can only be
# mixed from the 48 maps $A^k$.
#
# So an explanation of a logit says something about the network's inside that its predictions do not fix. Switch the score
# to the probability: there the map does not move at all.
#
# Now derive the pieces yourself: `exercises/02_gradcam.ipynb`.
