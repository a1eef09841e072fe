# %% [markdown]
# # 01 · Gradients: what would a nudge do?
#
# **Goals.** Take the gradient of a score by the input; read it as what a nudge would do, no more; see where it goes flat,
# why it is rough and what smoothing does; score maps where the truth is known.
#
# **You need** unit 00 and the chain rule. **Time** 30 minutes, with one exploration. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, explain, models, plots
from xaiteach.checks import mine

energy_share = mine("start_here.energy_share")
model = models.load("convnet1d")
signals = data.mnist1d()
x = torch.tensor(signals.x_test[:10])[:, None]
masks = torch.tensor(signals.mask_test[:10])
with torch.no_grad():
    logits = model(x)
predicted = logits.argmax(1)

# %% [markdown]
# ## A network that reads signals
#
# Each signal has 40 points. Somewhere in it a digit's template was stretched, shifted and buried in noise: the signals are
# made, so we know where. The network names the digit.

# %% xaiteach={"role": "demo"}
right = (predicted == torch.tensor(signals.y_test[:10])).sum()
print(
    f"{int(right)} of these 10 are named right; the template covers {int(masks[0].sum())} of the first one's 40 points"
)
print(
    f"the first one is called a {int(predicted[0])}, with a logit of {logits[0].max():.1f} (next {logits[0].topk(2).values[1]:.1f})"
)

# %% [markdown]
# ## What would a nudge do?
#
# How fast does the score $s_c$ change when point $x_t$ moves a little? That is $\partial s_c/\partial x_t$: one number for
# each point. Training asks for $\partial\,\mathrm{loss}/\partial W$ and moves the weights; an explanation keeps the weights
# and asks about the input.
#
# **Predict:** raise the steepest point by 0.01. Will the logit change by the gradient times 0.01? And by 1.0 times the
# gradient for a step of 1?

# %% xaiteach={"role": "demo"}
c = int(predicted[0])
leaf = x[:1].clone().requires_grad_()
(gradient,) = torch.autograd.grad(model(leaf)[0, c], leaf)
t = int(gradient[0, 0].abs().argmax())
slope = float(gradient[0, 0, t])
for step in (0.01, 0.1, 1.0):
    moved = x[:1].clone()
    moved[0, 0, t] += step
    with torch.no_grad():
        change = float(model(moved)[0, c] - logits[0, c])
    print(f"point {t} up by {step}: the gradient says {slope * step:+.3f}, the logit does {change:+.3f}")

# %% [markdown]
# For a small step the gradient is right, for a large one it is not: between ReLUs the network is a straight line, and a
# step of 1 crosses many of their edges. A gradient is a local answer.

# %% [markdown]
# ## A landscape
#
# With two inputs the whole landscape can be seen. The net below has four hidden units and was never trained. **Predict:**
# where is the gradient of a class's probability large: where the net is sure of the class, or where it wavers?
#
# Every control works from the keyboard (Tab, arrows, Home, End, Space).

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import gradient_landscape

gradient_landscape()

# %% [markdown]
# Read it aloud: *the probability rises from nothing to one along an edge, and only there is it steep.* Where the net is sure,
# a nudge changes nothing, and the map is dark: dark does not mean unused. Switch the score to the logit: it has slopes
# where the probability is flat, and other ones on either side of a ReLU's edge. Switch to the loss: every arrow turns
# round. *Which score?* is the first question to ask of any gradient.

# %% [markdown]
# ## Size, sign, product
#
# *Saliency* is the gradient's size. *Gradient times input* keeps the sign and asks another question: how much of the score
# does this value carry, if the score were a straight line through zero? An input of 0 gets nothing, however steep.

# %% xaiteach={"role": "demo"}
saliency = explain(model, x[:1], target=c, method="saliency")
product = explain(model, x[:1], target=c, method="input_x_gradient")
maps = [saliency.map[0].abs(), product.map[0].abs()]
for name, heat in zip(("|gradient|", "|x gradient|"), maps):
    print(f"{name:<13} {float(energy_share(heat, masks[0])):.0%} of it lies on the template")
print(f"the template's share of the length is {float(masks[0].double().mean()):.0%}")
plots.heat_map(x[0], product.map[0], mask=masks[0], signed=True, title=f"gradient x input for {c}", units="logit")

# %% [markdown]
# A share says something only beside chance: the template's share of the length.

# %% [markdown]
# ## Rough, and smoothed
#
# A gradient changes from region to region, and a region can be tiny: two signals that look the same may have maps that do
# not. *SmoothGrad* averages the gradient over a cloud of noisy copies.
#
# **Predict:** add a little noise to the signal, too little to see. How alike are the maps before and after?

# %% xaiteach={"role": "demo"}
near = x[:1] + 0.1 * torch.randn(20, 1, 40, generator=torch.Generator().manual_seed(1))


def maps_of(signals, method, **options):
    generator = torch.Generator().manual_seed(0) if options else None
    return explain(model, signals, target=c, method=method, generator=generator, **options).map


for name, method, options in (("gradient", "saliency", {}), ("SmoothGrad", "smoothgrad", {"n_samples": 50})):
    before, after = maps_of(x[:1], method, **options), maps_of(near, method, **options)
    alike = torch.nn.functional.cosine_similarity(before, after)
    print(f"{name:<10} cosine to the map of a near signal: mean {alike.mean():.2f}, lowest {alike.min():.2f}")
smooth = maps_of(x[:1], "smoothgrad", n_samples=50)
plots.compare([saliency.map[0], smooth[0]], ["gradient", "SmoothGrad"], signed=True, units="logit per unit")

# %% [markdown]
# It averages *signed* gradients: where the sign flips from draw to draw they cancel. An average of sizes would cancel
# nothing. It is steadier; whether it is also truer you will measure in the exercises.

# %% [markdown]
# ## Inside: hooks
#
# Methods of the next units need what a layer hands on, and the gradient that comes back to it. A hook is a function that
# PyTorch calls at a layer; it stays until it is removed.

# %% xaiteach={"role": "demo"}
seen = []


def note(module, inputs, output):
    seen.append(tuple(output.shape))


handle = model.relu1.register_forward_hook(note)
model(x[:1])
handle.remove()
model(x[:1])
print("seen once, then no more:", seen)

# %% [markdown]
# Now take the gradients yourself: `exercises/01_gradients.ipynb`.
