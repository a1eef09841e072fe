# %% [markdown]
# # 01 · Gradients: exercises
#
# **Goals.** The gradient of a score by the input, beside the one that training uses; what it says and what it does not;
# SmoothGrad; maps scored on signals whose digit we know the place of; a layer's inside, caught with a hook.
#
# **You need** unit 00 and `notebooks/01_gradients.ipynb`. **Time** 70 minutes; the stretch item at the end takes another
# 10, and its points come on top of the 23. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, models, plots
from xaiteach.widgets import check, hint, mine, ready, receipt, solution

# %% [markdown]
# {{ item gradients.input_gradient }}
#
# A net with one hidden layer: $h = \mathrm{ReLU}(W_1 x + b_1)$ and $s = V h + b$. `x` has shape (n,), `W1` (H, n), `b1`
# (H,), `V` (C, H) and `b` (C,).
#
# Write `input_gradient(x, W1, b1, V, b, c)`: the gradient $\partial s_c/\partial x$, shape (n,), without automatic
# differentiation. Derive it on paper first: what does a nudge of $x_i$ do to each hidden unit, and each of these to $s_c$?


# %% xaiteach={"role": "answer", "question": "gradients.input_gradient"}
def input_gradient(x, W1, b1, V, b, c):
    ### BEGIN SOLUTION
    gate = (W1 @ x + b1 > 0).to(V.dtype)  # (H,): the units that are on hand their share back
    return (V[c] * gate) @ W1
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradients.input_gradient"}
check("gradients.input_gradient")

# %% [markdown]
# **What it tells you.** Within the region where no gate turns, the net is one straight line: the row $V_c$, with the columns
# of units that are off struck out, times $W_1$. Everything that a ReLU net does lies in which gates are open.

# %% [markdown]
# {{ item gradients.weight_gradient }}
#
# Training asks another question of the same score: what if the *weights* moved, and the input stayed? Write
# `weight_gradient(x, W1, b1, V, b, c)`: the gradient $\partial s_c/\partial W_1$, shape (H, n), without automatic
# differentiation.


# %% xaiteach={"role": "answer", "question": "gradients.weight_gradient"}
def weight_gradient(x, W1, b1, V, b, c):
    ### BEGIN SOLUTION
    gate = (W1 @ x + b1 > 0).to(V.dtype)
    return torch.outer(V[c] * gate, x)  # W1[h, i] reaches s_c through unit h alone, with x[i] as its factor
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradients.weight_gradient"}
check("gradients.weight_gradient")

# %% xaiteach={"role": "demo"}
if ready("gradients.input_gradient") and ready("gradients.weight_gradient"):
    rng = torch.Generator().manual_seed(0)
    x, W1, b1 = torch.randn(4, generator=rng), torch.randn(5, 4, generator=rng), torch.randn(5, generator=rng)
    V, b = torch.randn(3, 5, generator=rng), torch.randn(3, generator=rng)
    for name, function in (("by the input", input_gradient), ("by the weights", weight_gradient)):
        found = torch.as_tensor(function(x, W1, b1, V, b, 1))
        print(f"{name:<15} shape {tuple(found.shape)}, {int((found == 0).sum())} of {found.numel()} entries are 0")

# %% [markdown]
# An explanation keeps the network and moves the picture; training keeps the picture and moves the network. The second
# gradient is 0 for every weight of a unit that is off, and for every weight that meets an input of 0. The first is not: a
# black pixel can have the steepest slope of all.

# %% [markdown]
# {{ item gradients.gradient_x_input }}
#
# Multiplied by the input, entry by entry and with its sign, the gradient becomes a share: $x_i\,\partial s_c/\partial x_i$.
# How much of $s_c$ do these shares explain?
#
# Write `gradient_x_input(x, W1, b1, V, b, c)`. Return a pair: the products, shape (n,), and the rest, one number: $s_c$ less
# the sum of the products. You may call your `input_gradient`.


# %% xaiteach={"role": "answer", "question": "gradients.gradient_x_input"}
def gradient_x_input(x, W1, b1, V, b, c):
    ### BEGIN SOLUTION
    product = x * input_gradient(x, W1, b1, V, b, c)
    score = V[c] @ (W1 @ x + b1).relu() + b[c]
    return product, score - product.sum()  # which is V_c (gate b1) + b_c: what the biases bring
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradients.gradient_x_input"}
check("gradients.gradient_x_input")

# %% xaiteach={"role": "demo"}
if ready("gradients.gradient_x_input"):
    for name, scale in (("with its biases", 1.0), ("without", 0.0)):
        product, rest = gradient_x_input(x, W1, scale * b1, V, scale * b, 1)
        print(f"{name:<16} the products add up to {float(sum(product)):+.2f}; left over: {abs(float(rest)):.2f}")

# %% [markdown]
# Without biases a ReLU net doubles its score when the input doubles, and the products add up to it exactly. With biases a
# part of the score belongs to no input at all. (And what "the input is 0" means is your choice: a black pixel is 0, in
# standardised data the mean is.)

# %% [markdown]
# {{ item gradients.saturated }}
#
# Take $f(x) = 1 - \mathrm{ReLU}(1 - x)$ of one number, at $x = 2$. Its gradient there is 0. Which statement is true? Set
# `saturated` to its letter, in quotes.
#
# {{ options gradients.saturated }}

# %% xaiteach={"role": "answer", "question": "gradients.saturated"}
### BEGIN SOLUTION
saturated = "b"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradients.saturated"}
check("gradients.saturated")

# %% [markdown]
# {{ item gradients.saliency }}
#
# Now a trained network: it reads signals of 40 points and tells ten digits apart. The cell below loads ten test signals `x`,
# shape (10, 1, 40); the network's `predicted` classes, (10,); and `masks`, (10, 40), which are `True` where the digit's
# template lies: the signals are made, so we know.
#
# Set `saliency` to the size of the gradient $|\partial s_c/\partial x|$ for each signal, with $c$ its predicted class: shape
# (10, 40). Use automatic differentiation.

# %% xaiteach={"role": "setup"}
model = models.load("convnet1d")
signals = data.mnist1d()
x = torch.tensor(signals.x_test[:10])[:, None]
masks = torch.tensor(signals.mask_test[:10])
with torch.no_grad():
    predicted = model(x).argmax(1)

# %% xaiteach={"role": "answer", "question": "gradients.saliency"}
### BEGIN SOLUTION
leaf = x.clone().requires_grad_()
scores = model(leaf).gather(1, predicted[:, None])  # each depends on its own signal only
saliency = torch.autograd.grad(scores.sum(), leaf)[0][:, 0].abs()
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradients.saliency"}
check("gradients.saliency")

# %% xaiteach={"role": "demo"}
if ready("gradients.saliency"):
    found = torch.as_tensor(saliency)
    steepest = [int(row.argmax()) for row in found]
    print("steepest points:", steepest)
    print("on the template:", [bool(mask[t]) for mask, t in zip(masks, steepest)])
    display(
        plots.heat_map(x[0], found[0], mask=masks[0], title=f"saliency for {int(predicted[0])}", units="logit per unit")
    )

# %% [markdown]
# {{ item gradients.predict_inside }}
#
# The *energy* of a map is the share of it that lies inside the mask. The template covers about a quarter of a signal, so a
# map that knows nothing has about a quarter of its energy there. For how many of the ten signals does $|\partial
# s_c/\partial x|$ have a larger share inside than the mask's share of the length? Set `predict_inside` to your guess.

# %% xaiteach={"role": "answer", "question": "gradients.predict_inside"}
### BEGIN SOLUTION
predict_inside = 5  # as if the gradient did not know where the digit is
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradients.predict_inside"}
check("gradients.predict_inside")

# %% [markdown]
# {{ item gradients.smoothgrad }}
#
# From one point to the next a net's gradient jumps, whenever a gate turns. SmoothGrad (Smilkov and others, 2017) averages
# over a cloud: $\frac{1}{N}\sum_{i=1}^{N} \nabla s_c(x + \epsilon_i)$.
#
# Write `smoothgrad(gradient_at, x, noise)`. `gradient_at` is a function: it takes one point of x's shape and returns the
# gradient there, of the same shape. `noise` has N rows, each of x's shape. Return the average, of x's shape.


# %% xaiteach={"role": "answer", "question": "gradients.smoothgrad"}
def smoothgrad(gradient_at, x, noise):
    ### BEGIN SOLUTION
    return torch.stack([gradient_at(x + draw) for draw in noise]).mean(0)  # signed: what flips, cancels
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradients.smoothgrad"}
check("gradients.smoothgrad")

# %% [markdown]
# {{ item gradients.predict_smooth }}
#
# The smoothed maps look cleaner. For how many of the ten signals will $|$SmoothGrad$|$ have *more* energy inside the mask than
# $|\partial s_c/\partial x|$ has? Set `predict_smooth` to your guess.

# %% xaiteach={"role": "answer", "question": "gradients.predict_smooth"}
### BEGIN SOLUTION
predict_smooth = 5  # as if smoothing were for the eye alone
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradients.predict_smooth"}
check("gradients.predict_smooth")

# %% [markdown]
# {{ item gradients.energies }}
#
# Compute both. The cell below makes `slope(i)`, a function that returns the gradient of signal i's predicted logit at a point
# of shape (40,); `noise`, 20 draws of 40; and `random`, a random map for each signal, (10, 40).
#
# Set `energies` to a table of shape (10, 4): a row for each signal, with the energy inside its mask of $|\nabla s_c|$, of
# $|x\,\nabla s_c|$, of $|$SmoothGrad$|$, and of the random map. `energy_share(map, mask)` is your function of unit 00.

# %% xaiteach={"role": "setup"}
energy_share = mine("start_here.energy_share")


def slope(i):
    def gradient_at(point):
        leaf = point.reshape(1, 1, 40).detach().requires_grad_()
        return torch.autograd.grad(model(leaf)[0, predicted[i]], leaf)[0].reshape(40)

    return gradient_at


noise = 0.2 * torch.randn(20, 40, generator=torch.Generator().manual_seed(0))
random = torch.rand(10, 40, generator=torch.Generator().manual_seed(1))

# %% xaiteach={"role": "answer", "question": "gradients.energies"}
### BEGIN SOLUTION
rows = []
for i in range(10):
    signal = x[i, 0]
    gradient = slope(i)(signal)
    four = gradient, signal * gradient, smoothgrad(slope(i), signal, noise), random[i]
    rows.append([float(energy_share(heat.abs(), masks[i])) for heat in four])
energies = torch.tensor(rows)
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradients.energies"}
check("gradients.energies")

# %% xaiteach={"role": "demo"}
if ready("gradients.energies"):
    table, chance = torch.as_tensor(energies), masks.double().mean(1)
    for name, column in zip(("gradient", "x gradient", "SmoothGrad", "random"), table.T):
        print(f"{name:<10} mean {float(column.mean()):.2f}, lowest {float(column.min()):.2f}")
    print(f"the masks' share of the length: mean {float(chance.mean()):.2f}")
    above, better = int((table[:, 0] > chance).sum()), int((table[:, 2] > table[:, 0]).sum())
    for name, count, guess in (("above chance", above, predict_inside), ("better smoothed", better, predict_smooth)):
        print(f"{name} on {count} of 10; you predicted {'nothing' if guess is ... else guess}.")

# %% [markdown]
# The gradient knows where the digit is: more of its energy lies there than chance would put, on every signal, and yet less
# than half on average. Smoothing helps a little on most of them, and multiplying by the input more: the
# digit's points are the larger ones here. Would you have told so from the pictures? Only a score on something known can tell, and only
# beside a control.

# %% [markdown]
# {{ item gradients.catch }}
#
# Grad-CAM (unit 02) needs a layer's output and the gradient that arrives there. A *hook* is a function that PyTorch calls
# when a layer has run (`register_forward_hook`) or when the gradient comes back through it
# (`register_full_backward_hook`).
#
# Write `catch(model, layer, x, c)`. `layer` is a name such as `"relu2"` (`model.get_submodule(layer)` is the module), `x` has
# shape (1, 1, 40). Return a pair: the layer's output and the gradient of logit c by that output, both of the output's shape.
# Leave the model as you found it: no hook stays, and no parameter has a `.grad`.


# %% xaiteach={"role": "answer", "question": "gradients.catch"}
def catch(model, layer, x, c):
    ### BEGIN SOLUTION
    seen = {}

    def keep(module, inputs, output):
        seen["output"] = output

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        score = model(x.clone().requires_grad_())[0, c]
    finally:
        handle.remove()  # also when the model raised
    (gradient,) = torch.autograd.grad(score, seen["output"])  # fills nobody's .grad
    return seen["output"].detach(), gradient
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradients.catch"}
check("gradients.catch")

# %% xaiteach={"role": "demo"}
if ready("gradients.catch"):
    activation, gradient = (torch.as_tensor(part)[0] for part in catch(model, "relu3", x[:1], int(predicted[0])))
    print(f"relu3 hands on {activation.shape[0]} maps of {activation.shape[1]} points;", end=" ")
    print(
        f"{float((activation == 0).double().mean()):.0%} of them are 0, {float((gradient == 0).double().mean()):.0%} of the gradient"
    )

# %% [markdown]
# Most units are off, and yet the gradient that *arrives* is nowhere 0: the ReLU gates it only on its way further down. What
# Grad-CAM averages is this gradient, ungated.

# %% [markdown]
# {{ item gradients.reading }}
#
# A friend reads a saliency map: "The dark places are not used by the network, the bright ones made its decision." Set `reading`
# to what you would answer, in three to six sentences.

# %% xaiteach={"role": "answer", "question": "gradients.reading"}
### BEGIN SOLUTION
reading = """
A gradient says how fast one score would change if this input moved a little; it is about nudges near this picture, not
about what made the score what it is. Dark means that a nudge changes nothing: f = 1 - ReLU(1 - x) at x = 2 is flat, and
yet without x it would be 0, so a place can be dark and decisive. Bright means steep, not large: an input of 0 with a
steep slope has added nothing yet, and gradient times input asks that other question. And it depends on the score: the
logit's gradient knows only this class, the probability's compares it with its rivals and goes flat where the network is
sure, and the loss turns every sign.
"""
### END SOLUTION

# %% xaiteach={"role": "check", "question": "gradients.reading"}
check("gradients.reading")

# %% [markdown]
# ## Stretch
#
# What follows is beyond the core of the unit.

# %% [markdown]
# {{ item gradients.how_far }}
#
# In a ReLU net the gradient is exact until the first gate turns. Walk from $x$ along $d$: write `how_far(x, d, W1, b1)`, the
# smallest $t > 0$ at which a hidden unit of $x + t d$ reaches the edge of its ReLU. `W1` has shape (H, n), `b1` (H,).


# %% xaiteach={"role": "answer", "question": "gradients.how_far"}
def how_far(x, d, W1, b1):
    ### BEGIN SOLUTION
    t = -(W1 @ x + b1) / (W1 @ d)  # where each unit's line crosses 0
    return t[t > 0].min()
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "gradients.how_far"}
check("gradients.how_far")

# %% [markdown]
# So "a small change" has a number. In a deep net with thousands of units that number is tiny: this is why one gradient is
# so rough, and what SmoothGrad averages over.

# %% [markdown]
# ## What would be handed in
#
# Save first (Ctrl+S). The cell below compares the saved file with what you last checked, runs it from a fresh start, and
# writes a receipt.

# %% xaiteach={"role": "demo"}
receipt("01_gradients")
