# %% [markdown]
# # 02 · Grad-CAM: exercises
#
# **Goals.** The gradient of a score with respect to the feature maps, by hand; the weights and the heat map it gives;
# where that map goes blind; what it is worth beside controls that never saw the class.
#
# **You need** unit 00 and `notebooks/02_gradcam.ipynb`. **Time** 65 minutes; the three stretch items at the end take
# another 27, and their points come on top of the 23. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, models, plots
from xaiteach.widgets import check, hint, mine, ready, receipt, solution

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
# it. The gradient of the *probability* depends on $A$, and on every class.

# %% [markdown]
# {{ item gradcam.probability_gradient }}
#
# The same head, with $y = \mathrm{softmax}(s)$. Write `probability_gradient(A, V, b, c)`: the gradient
# $\partial y_c/\partial A$, a tensor of A's shape.
#
# Derive it by the chain rule through all the logits, and bring it into the form
# $y_c \sum_j y_j\,(\dots)$. One of the cases has a network that is sure of its class: its logit leads by 20. There
# $y_c$ is 1 to eight digits. A formula that forms $1 - y_c$, or subtracts the average row $\sum_j y_j V_j$ (which is then
# nearly $V_c$ itself) from $V_c$, is left with rounding noise in float32.


# %% xaiteach={"role": "answer", "question": "gradcam.probability_gradient"}
def probability_gradient(A, V, b, c):
    ### BEGIN SOLUTION
    # dy_c/ds_j = y_c (1[j = c] - y_j), and 1 - y_c is the sum of the rivals' y_j: collect the terms of each rival
    y = torch.softmax(V @ A.reshape(-1) + b, dim=0)  # (C,)
    rivals = (y[:, None] * (V[c] - V)).sum(0)  # differences first; the term j = c is zero
    return (y[c] * rivals).reshape(A.shape)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradcam.probability_gradient"}
check("gradcam.probability_gradient")

# %% [markdown]
# **What it tells you.** It compares $c$ with its rivals, each as much as the network believes in it. It is $y_c$ times the
# gradient of $\log y_c$, so the two have the same picture; but this one shrinks to nothing where $y_c$ is near 1 *and*
# where it is near 0. Logit and probability answer two different questions.

# %% [markdown]
# {{ item gradcam.alpha_gap }}
#
# Now the trained network of the lesson, whose head averages each map. Grad-CAM's weight of map $k$ for class $c$ is
# $\alpha^c_k = \frac{1}{Z}\sum_{ij} \partial s_c/\partial A^k_{ij}$, where $Z$ is the number of positions.
#
# For each map: is $\alpha_k$ larger for the cat or for the coffee? Set `alpha_gap` to $\alpha^{cat}_k -
# \alpha^{coffee}_k$ for all K maps, shape (K,). A positive entry: this map speaks more for the cat. The
# cell below gives you `A` and the logits `scores`; use automatic differentiation. All gradients run back through one
# graph: ask for `retain_graph=True` in every call.

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
# {{ item gradcam.predict_flips }}
#
# A rule that goes round says: divide by a $Z$ for which the weights add up to 1. That divides the map, before its ReLU, by
# $\sum_k \alpha^c_k$. Where this sum is negative, every sign of the map turns: what the ReLU then keeps is the evidence
# *against* the class.
#
# For how many of the ten classes of this trained network is the sum negative? Set `predict_flips` to your guess.

# %% xaiteach={"role": "answer", "question": "gradcam.predict_flips"}
### BEGIN SOLUTION
predict_flips = 5  # as if every sum were a coin's throw
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.predict_flips"}
check("gradcam.predict_flips")

# %% [markdown]
# {{ item gradcam.alpha_sums }}
#
# Compute it. Set `alpha_sums` to $\sum_k \alpha^c_k$ for each of the ten classes $c$, shape (C,), from `A` and `scores`,
# which the next cell makes anew.

# %% xaiteach={"role": "setup"}
scores = model.classifier(A.mean((2, 3)))[0]  # a graph of its own, whatever became of the one above

# %% xaiteach={"role": "answer", "question": "gradcam.alpha_sums"}
### BEGIN SOLUTION
slopes = [torch.autograd.grad(scores[c], A, retain_graph=True)[0][0] for c in range(len(scores))]
alpha_sums = torch.stack([slope.mean((1, 2)).sum() for slope in slopes])
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.alpha_sums"}
check("gradcam.alpha_sums")

# %% xaiteach={"role": "demo"}
if ready("gradcam.alpha_sums"):
    sums = torch.as_tensor(alpha_sums)
    guess = "nothing" if predict_flips is ... else predict_flips
    print(f"{int((sums < 0).sum())} of {len(sums)} sums are negative; you predicted {guess}.")
    (slope,) = torch.autograd.grad(model.classifier(A.mean((2, 3)))[0, coffee], A)
    signed = (slope[0].mean((1, 2))[:, None, None] * A.detach()[0]).sum(0)
    turned = signed / sums[coffee]
    turned = turned * signed.abs().max() / turned.abs().max()  # brought to the same size, to be compared
    names = ["Grad-CAM for coffee", "divided by the sum, rescaled"]
    display(plots.compare([signed.relu(), turned.relu()], names, units="logit per position"))

# %% [markdown]
# Read it aloud: *the first map lies on the coffee, on the right. The second one is what the ReLU had cut: a dim spot at
# the lower left, where the picture speaks against coffee.* The $Z$ of the paper is the number of positions, which no sign
# can turn.
#
# Why are all the sums negative? Nothing in training asks for it: add one number to every weight, and all sums move while
# no prediction does. A rule that depends on such a sum says nothing about the network's decisions.

# %% [markdown]
# {{ item gradcam.heatmap }}
#
# Write `heatmap(A, gradient)`. Both have shape (K, d1, d2); `gradient` is that of the score. Return
# $L = \mathrm{ReLU}\big(\sum_k \alpha_k A^k\big)$ with $\alpha_k$ the mean of the gradient over the positions: shape
# (d1, d2). You will use it again below.


# %% xaiteach={"role": "answer", "question": "gradcam.heatmap"}
def heatmap(A, gradient):
    ### BEGIN SOLUTION
    alpha = gradient.mean((1, 2))  # (K,)
    return (alpha[:, None, None] * A).sum(0).relu()  # the cut comes after the sum
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradcam.heatmap"}
check("gradcam.heatmap")

# %% xaiteach={"role": "demo"}
if ready("gradcam.heatmap"):
    again = model.classifier(A.mean((2, 3)))[0]
    gradients = [torch.autograd.grad(again[c], A, retain_graph=True)[0][0] for c in (cat, coffee)]
    two = [torch.as_tensor(heatmap(A.detach()[0], g)) for g in gradients]
    display(plots.compare(two, ["your map for the cat", "your map for the coffee"], units="logit per position"))
    print("the two peaks, on one scale:", " and ".join(f"{float(m.max()):.2g}" for m in two))

# %% [markdown]
# Bright means *more than elsewhere in this map*. On one scale, as here, the two can be compared. Had each been divided by
# its own maximum, both peaks would be 1, and the weak one would look as strong as the other.

# %% [markdown]
# {{ item gradcam.blank_head }}
#
# Grad-CAM can be blank although the score depends on $A$: changing $A$ changes $s_c$, and yet every $\alpha_k$ is zero
# for every picture. For which of these heads does that happen? Set `blank_head` to the letter, in quotes.
#
# {{ options gradcam.blank_head }}

# %% xaiteach={"role": "answer", "question": "gradcam.blank_head"}
### BEGIN SOLUTION
blank_head = "b"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.blank_head"}
check("gradcam.blank_head")

# %% [markdown]
# {{ item gradcam.gradient_x_activation }}
#
# Grad-CAM sees the gradient only through its average over the positions. Where a class weighs places *against* each
# other, that average is empty.
#
# Write `gradient_x_activation(A, gradient)`: multiply gradient and activation position by position, then add up over the
# channels, signs kept. Shape (d1, d2). This is HiResCAM (Draelos and Carin, 2020) without its cut.


# %% xaiteach={"role": "answer", "question": "gradcam.gradient_x_activation"}
def gradient_x_activation(A, gradient):
    ### BEGIN SOLUTION
    return (gradient * A).sum(0)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradcam.gradient_x_activation"}
check("gradcam.gradient_x_activation")

# %% xaiteach={"role": "demo"}
if ready("gradcam.gradient_x_activation") and ready("gradcam.heatmap"):
    flat = models.load("flat_head_blank", seed=0)  # a flatten head whose class 2 has rows of mean zero
    seen = flat.features(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(3))).detach().requires_grad_()
    score, bias = flat.classifier(seen.flatten(1))[0, 2], flat.classifier.bias[2]
    g, a = torch.autograd.grad(score, seen)[0][0], seen.detach()[0]
    product = torch.as_tensor(gradient_x_activation(a, g))
    print(f"Grad-CAM: largest entry {float(torch.as_tensor(heatmap(a, g)).max()):.3f}")
    print(f"gradient x activation adds up to {float(product.sum()):.3f}")
    print(f"the score less its bias is       {(score - bias).item():.3f}")

# %% [markdown]
# Grad-CAM is exactly zero everywhere: a blank picture for a score that is not zero. Gradient times activation adds up
# to $s_c - b_c$, which for a linear head on the flattened maps is exact.

# %% [markdown]
# {{ item gradcam.predict_controls }}
#
# `crops.pairs` holds fourteen pictures of two objects; the question is always about the object on the right. The energy of
# a map is the share of it that lies on that object. A control that never saw the class is $\sum_k A^k$: it shows where the
# network is active at all.
#
# On how many of the fourteen does Grad-CAM put a larger share on the right object than this control? Set
# `predict_controls` to your guess.

# %% xaiteach={"role": "answer", "question": "gradcam.predict_controls"}
### BEGIN SOLUTION
predict_controls = 14  # as if it always worked
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.predict_controls"}
check("gradcam.predict_controls")

# %% [markdown]
# {{ item gradcam.energy }}
#
# The cell below makes `pictures`, a list with `(maps, slope, mask)` for each picture: its feature maps and the gradient of
# the right logit, both (K, 8, 16), and the mask (8, 16); and `noise`, a random map for each, (14, 8, 16).
#
# Set `energies` to a table of shape (14, 3): a row for each picture, with the energy inside the mask of your `heatmap`, of
# $\sum_k A^k$, and of the random map. `energy_share(map, mask)` is your function of unit 00.

# %% xaiteach={"role": "setup"}
energy_share = mine("start_here.energy_share")
pictures = []
for p in crops.pairs:
    maps = model.features(p.x).detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.classifier(maps.mean((2, 3)))[0, p.y], maps)
    pictures.append((maps.detach()[0], slope[0], torch.from_numpy(p.mask)[::8, ::8]))
noise = torch.rand(len(pictures), 8, 16, generator=torch.Generator().manual_seed(0))

# %% xaiteach={"role": "answer", "question": "gradcam.energy"}
### BEGIN SOLUTION
rows = []
for (maps, slope, mask), random in zip(pictures, noise):
    three = heatmap(maps, slope), maps.sum(0), random
    rows.append([float(energy_share(heat, mask)) for heat in three])
energies = torch.tensor(rows)
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.energy"}
check("gradcam.energy")

# %% xaiteach={"role": "demo"}
if ready("gradcam.energy"):
    table = torch.as_tensor(energies)
    for name, column in zip(("Grad-CAM", "sum of A", "random"), table.T):
        print(f"{name:<9} mean {float(column.mean()):.2f}, lowest {float(column.min()):.2f}")
    better, guess = table[:, 0] > table[:, 1], "nothing" if predict_controls is ... else predict_controls
    print(f"Grad-CAM above the sum of A on {int(better.sum())} of {len(table)}; you predicted {guess}.")
    with torch.no_grad():
        believed = [model(p.x)[0].softmax(0)[p.y].item() for p in crops.pairs]
    for p, row, y in zip(crops.pairs, table, believed):
        if row[0] <= row[1]:
            print(f"below it on {' | '.join(p.names)}: {float(row[0]):.2f} against {float(row[1]):.2f}; y_c is {y:.0%}")
    print(f"y_c is above one half on {sum(y > 0.5 for y in believed)} of the {len(believed)} pictures")

# %% [markdown]
# The mean alone would have hidden the picture that fails. There the network says "astronaut" and looks at the retina: its
# astronaut was mostly an orange suit. The map is right about the network, and the network is wrong about the world.
#
# And most of the good energies belong to classes that the network does not name: energy scores where a map lies, not
# whether the network is right. A score without $y_c$ beside it tells half.

# %% [markdown]
# {{ item gradcam.roles }}
#
# In two to five sentences of your own, 30 words at least: what do $A^k$, $\alpha_k$ and the ReLU each contribute to the
# heat map? Say what each knows of place and class, whether it can be negative, and where the cut comes. Is $\alpha_k$ the
# contribution of map $k$ to this score?

# %% xaiteach={"role": "answer", "question": "gradcam.roles"}
### BEGIN SOLUTION
roles = """
The map A^k says where feature k is present in this picture, and knows nothing of any class. The weight alpha_k says how
the score of class c would react, on average over the positions, if feature k were raised a little; it may be negative,
and then the feature speaks against c. The ReLU comes after the sum over the channels, so that what speaks against c is
subtracted first and only the surplus for c is kept. alpha_k alone is no contribution: on a map that is silent here even
a large weight adds nothing, and only the product alpha_k A^k says how much and where.
"""
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.roles"}
check("gradcam.roles")

# %% [markdown]
# ## Stretch
#
# What follows is beyond the core of the unit. Take what interests you.

# %% [markdown]
# {{ item gradcam.three_channels }}
#
# In the lesson's exploration `gradcam_pieces()`, on "gravel | astronaut" and for the class astronaut: find three channels
# whose products $\alpha_k A^k$ alone, added up, have their peak where the whole map has it. Set `three_channels` to a list
# of their numbers.

# %% xaiteach={"role": "answer", "question": "gradcam.three_channels"}
### BEGIN SOLUTION
three_channels = [22, 33, 1]  # the three largest products at the peak
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradcam.three_channels"}
check("gradcam.three_channels")

# %% [markdown]
# {{ item gradcam.hidden_relu }}
#
# A head with one hidden layer: $s = V\,\mathrm{ReLU}(W_1 z + b_1) + b$, with $z = \mathrm{vec}(A)$ as before. `W1` has
# shape (H, K·d1·d2), `b1` (H,) and `V` (C, H). Write `hidden_gradient(A, W1, b1, V, c)`: the gradient
# $\partial s_c/\partial A$, a tensor of A's shape, without automatic differentiation.


# %% xaiteach={"role": "answer", "question": "gradcam.hidden_relu"}
def hidden_gradient(A, W1, b1, V, c):
    ### BEGIN SOLUTION
    gate = (W1 @ A.reshape(-1) + b1 > 0).to(V.dtype)  # (H,): which units are on
    return ((V[c] * gate) @ W1).reshape(A.shape)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradcam.hidden_relu"}
check("gradcam.hidden_relu")

# %% [markdown]
# {{ item gradcam.paint }}
#
# Predictions do not fix the logits: add one vector $v$ to *every* row of $V$, and every logit grows by the same number,
# which softmax does not see. Yet the weights of Grad-CAM become $(V_{ck} + v_k)/Z$.
#
# Write `paint(A, V, c, target)` for a head that averages each map: `A` (K, d1, d2), `V` (C, K), `target` (d1, d2). Return
# $v$, shape (K,), for which the map $\sum_k \frac{V_{ck} + v_k}{Z} A^k$ (before the ReLU) comes closest to the target in
# the sense of least squares.


# %% xaiteach={"role": "answer", "question": "gradcam.paint"}
def paint(A, V, c, target):
    ### BEGIN SOLUTION
    basis = A.reshape(len(A), -1).T / target.numel()  # (Z, K): column k is A^k / Z
    best = torch.linalg.lstsq(basis, target.reshape(-1, 1)).solution[:, 0]  # the row that class c should have
    return best - V[c]
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradcam.paint"}
check("gradcam.paint")

# %% [markdown]
# So the explanation of a logit is not a property of the predictions alone. For any one picture, two networks that nobody
# can tell apart from outside may show any two maps that can be mixed from the $A^k$. The probability's map does not have
# this freedom: $v$ cancels in $V_c - V_j$.

# %% [markdown]
# ## What would be handed in
#
# Save first (Ctrl+S). The cell below compares the saved file with what you last checked, runs it from a fresh start, and
# writes a receipt.

# %% xaiteach={"role": "demo"}
receipt("02_gradcam")
