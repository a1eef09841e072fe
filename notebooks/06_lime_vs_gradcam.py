# %% [markdown]
# # 06 · LIME beside Grad-CAM
#
# **Goals.** Explain a picture by its pieces; see what the answer depends on; read LIME and Grad-CAM of one picture side by side,
# and score both where the truth is known.
#
# **You need** units 02 and 04. **Time** 30 minutes, with one exploration. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import time

import torch

from xaiteach import data, explain, lime, models, plots
from xaiteach.checks import mine

energy_share = mine("start_here.energy_share")
model, crops = models.load("crops_cnn"), data.crops(split="test")
pair = crops.pairs[1]  # coffee on the left, a cat on the right
x, half = pair.x[0], torch.from_numpy(pair.mask)
coffee, cat = pair.other, pair.y


# %% xaiteach={"role": "setup"}
def score_of(network, c):
    def score(batch):
        with torch.no_grad():
            return network(batch)[:, c]

    return score


def lime_of(network, x, c, labels, fill, n_samples=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    options = {"labels": labels, "fill": fill, "n_samples": n_samples, "generator": generator}
    near = lime.superpixel_neighbourhood(score_of(network, c), x, **options)
    return near.explain(lime.LeastSquares()).values.reshape(labels.shape).float()


# %% [markdown]
# ## A picture in pieces
#
# For a picture the features of LIME are *superpixels*: patches of similar colour, on or off together. A sample keeps some of them and
# shows a *fill* in place of the others.

# %% xaiteach={"role": "demo"}
labels = lime.slic(x, 24)
n = int(labels.max()) + 1
grey = x.mean((1, 2), keepdim=True).expand_as(x)
kept = lime.on_off(n, 2, torch.Generator().manual_seed(1))[1:]  # the first sample is the picture itself
samples = [lime.apply_masks(x, fill, labels, kept)[0] for fill in (grey, lime.fill_of("blur", x, labels))]
mean = lime.superpixel_means(x, labels)
titles = ["the picture", f"its {n} superpixels, as flat colours", "a sample, grey fill", "the same, blurred fill"]
panels = [plots.Panel(title, image.numpy()) for title, image in zip(titles, (x, mean, *samples))]
off = n - int(kept.sum())
plots.strip(
    panels, f"coffee | cat, its {n} superpixels, and a sample with {off} of them off, under two fills", columns=2
)

# %% [markdown]
# LIME asks the network for the score of some hundred such samples, and explains them by a plane over *on* and *off*: one coefficient for
# each superpixel. Samples of which less is off count more (a kernel of width .25, which you will build). LIME needs the scores, and
# nothing else of the network. And a plane has no products: what two superpixels do *together* it cannot say.

# %% [markdown]
# ## Two methods, one picture
#
# **Predict:** will the two maps for the cat lie on the cat's half? (By chance they would have 50 % there.)

# %% xaiteach={"role": "demo"}
maps = []
believed = model(pair.x)[0].softmax(0).detach()
print(f"the network gives the cat {float(believed[cat]):.0%}, the coffee {float(believed[coffee]):.0%}")
for c, name, mask in ((cat, "cat", half), (coffee, "coffee", ~half)):
    by_lime = lime_of(model, x, c, labels, grey)
    by_cam = explain(model, pair.x, target=c, method="grad_cam").map[0]
    maps += [by_lime.clamp(min=0), by_cam]
    shares = [float(energy_share(heat.clamp(min=0), mask)) for heat in (by_lime, by_cam)]
    print(f"for the {name}: {shares[0]:.0%} of LIME's positive part on its half, {shares[1]:.0%} of Grad-CAM")
names = ["LIME, cat", "Grad-CAM, cat", "LIME, coffee", "Grad-CAM, coffee"]
units = ["logit", "logit per position"] * 2
panels = [plots.Panel(title, heat.numpy(), unit) for title, heat, unit in zip(names, maps, units)]
plots.strip(panels, "LIME and Grad-CAM for the cat and for the coffee of one picture", columns=2)

# %% [markdown]
# Read it aloud: *for the cat, LIME's positive part lies almost wholly on the cat's half, and Grad-CAM on both.* LIME looks better.
# Before you believe it, three questions: would it say so again with another seed, with another fill, with other superpixels?

# %% [markdown]
# ## Another seed
#
# The samples are drawn. **Predict:** how many samples does it take until ten seeds name the same top superpixel, for the coffee? And
# for the cat, which the network hardly believes in?

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import seed_roulette

seed_roulette()

# %% [markdown]
# Read it aloud: *one seed is one sample.* A single map from few samples can look perfect, and its neighbour seed names another
# place. The picture of one map never shows that; the range over ten does. Grad-CAM gives the same map every time, which is worth
# something, and is no proof.
#
# (To answer at once, the panel's seeds take their samples from one pool of 320. With 160, two seeds share half of theirs
# and agree *more* than fresh draws would: those of the exercises are fresh.)

# %% [markdown]
# ## Another fill
#
# A coefficient is the effect of replacing a superpixel *by this fill*. The lime package fills each superpixel with its own mean colour.
# **Predict:** under which of the four fills does most of what speaks for the cat lie on the cat's half, and under which the least?

# %% xaiteach={"role": "demo"}
by_fill = {}
for name, fill in (("grey", grey), ("blur", "blur"), ("black", 0.0), ("own mean", "mean")):
    heats = [lime_of(model, x, cat, labels, fill, seed=seed) for seed in range(5)]
    by_fill[name] = heats[0]
    shares = [float(energy_share(heat.clamp(min=0), half)) for heat in heats]
    print(
        f"{name:<9} {min(shares):.0%} to {max(shares):.0%} of what speaks for the cat lies on the cat's half, over five seeds"
    )
plots.compare(list(by_fill.values()), list(by_fill), image=x, signed=True, units="logit")

# %% [markdown]
# Four fills, four explanations of one number. A superpixel's own mean takes away its texture alone, grey its colour as well, black
# its light; and none of them is neutral. With the package's choice the map tells you to look at the coffee. Say which fill you took,
# and look at two.

# %% [markdown]
# ## Other superpixels
#
# Below is a scene with a drawn object: its mask is known to the pixel, the network names it, and the scene says nothing of the
# label. LIME with three segmentations, beside Grad-CAM. **Predict:** which has the most energy on the object?

# %% xaiteach={"role": "demo"}
vgg, scenes = models.load("vgg64_narrow"), data.scenes("test", n=100)
i = 11
scene, c, mask = torch.tensor(scenes.x[i]), int(scenes.object[i]), torch.tensor(scenes.mask[i])
cuts = {"SLIC": lime.slic(scene, 32), "grid": lime.grid((64, 64), 25), "quickshift": lime.quickshift(scene, 3, 8, 0.5)}
flat = scene.mean((1, 2), keepdim=True)
heats = {name: lime_of(vgg, scene, c, cut, flat).clamp(min=0) for name, cut in cuts.items()}
heats["Grad-CAM"] = explain(vgg, scene[None], target=c, method="grad_cam").map[0]
for name, heat in heats.items():
    pieces = f"{int(cuts[name].max()) + 1} pieces" if name in cuts else "8 by 8 positions"
    print(f"{name:<10} {pieces:<16} {float(energy_share(heat, mask)):.0%} on the {scenes.object_names[c]}")
print(f"the {scenes.object_names[c]} covers {float(mask.double().mean()):.0%} of the scene")
panels = [plots.Panel("the scene", scene.numpy(), mask=mask.numpy())]
panels += [plots.Panel(name, heat.numpy(), "logit", mask=mask.numpy()) for name, heat in heats.items()]
plots.strip(panels, "One scene: LIME with three segmentations and Grad-CAM, object outlined", aspect=1.0)

# %% [markdown]
# The sharp edges are the segmentation's. SLIC and quickshift saw the object's colours before the network was asked (quickshift cut it
# into stripes); the grid did not, its map has the grid's edges, and here it scores below Grad-CAM. A sharp map is not yet a better look
# into the network. And this is one scene: the exercises ask eight.

# %% [markdown]
# ## When both agree
#
# **Predict:** on "retina | astronaut" the two maps agree. (As in unit 02, the crop of the astronaut shows only the shuttle behind her.)
# Where do they lie?

# %% xaiteach={"role": "demo"}
odd = crops.pairs[12]
seen, inside = odd.x[0], torch.from_numpy(odd.mask)
by_lime = lime_of(model, seen, odd.y, lime.slic(seen, 24), seen.mean((1, 2), keepdim=True))
by_cam = explain(model, odd.x, target=odd.y, method="grad_cam").map[0]
alike = float(torch.corrcoef(torch.stack([by_lime.flatten(), by_cam.flatten()]))[0, 1])
shares = [float(energy_share(heat.clamp(min=0), inside)) for heat in (by_lime, by_cam)]
print(f"the network gives the astronaut {float(model(odd.x)[0].softmax(0)[odd.y].detach()):.0%}")
print(f"correlation {alike:.2f}; on the astronaut: LIME {shares[0]:.0%}, Grad-CAM {shares[1]:.0%}, chance 50%")
panels = [plots.Panel("retina | astronaut", seen.numpy(), mask=inside.numpy())]
panels.append(plots.Panel("LIME, grey", by_lime.numpy(), "logit", signed=True, mask=inside.numpy()))
panels.append(plots.Panel("Grad-CAM", by_cam.numpy(), "logit per position", mask=inside.numpy()))
plots.strip(panels, "retina | astronaut, with LIME and Grad-CAM for the astronaut, whose half is outlined")

# %% [markdown]
# Both lie on the retina. Agreement is not truth: the mask says that no astronaut is there. Where the network's *score* comes from is
# yet another question, which the exercises put to the network itself.

# %% [markdown]
# ## What a map costs
#
# LIME pays for its independence of the network's inside. A hook counts the pictures that reach the network's last layer.

# %% xaiteach={"role": "setup"}
seen_by_head = []


def note(module, inputs, output):
    seen_by_head.append(len(output))


def by_gradcam():
    explain(model, pair.x, target=cat, method="grad_cam")


def by_lime_200():
    lime_of(model, x, cat, labels, grey)


# %% xaiteach={"role": "demo"}
handle, costs = model.classifier.register_forward_hook(note), {}
for name, run in (("Grad-CAM", by_gradcam), ("LIME", by_lime_200)):
    seen_by_head.clear()
    began = time.perf_counter()
    run()
    costs[name] = time.perf_counter() - began
    print(f"{name:<9} {sum(seen_by_head)} pictures forward")
handle.remove()
print("LIME takes more than ten times as long:", costs["LIME"] > 10 * costs["Grad-CAM"])

# %% [markdown]
# Grad-CAM itself takes one forward pass, and a short backward pass from the score to the last maps; `explain` needs the other one to
# find the layer. LIME takes 200 forward passes and none back, and should be run with more than one seed.
#
# Now build it, measure it and choose: `exercises/06_lime_vs_gradcam.ipynb`.
