# %% [markdown]
# # 03 · A heat map for each frame: exercises
#
# **Goals.** Derive Grad-CAM for one frame of a clip; see what three heads make of it; tell a frame's exact share from its
# energy; know what scaling, pooling and strides hide.
#
# **You need** unit 02 and `notebooks/03_video_cam.ipynb`. **Time** 64 minutes, for 21 points. **Machine** any CPU.

# %% [markdown]
# **Letters.** A clip has T frames; the convolutions turn frame t into $A^t$, K maps of d1 x d2, so that `A` has shape
# (T, K, d1, d2). $z_t$ is $A^t$ unrolled: channel, row, column. $S_c$ is the score of class c for the *clip*, `G` its
# gradient $\partial S_c/\partial A$, of A's shape. (The homework asks for $L^{c,t}$ and leaves the head open; its $\sum_k\alpha_k = 1$
# is not Grad-CAM's, as unit 02 found.)

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, models, plots
from xaiteach.widgets import check, hint, mine, ready, receipt, solution

energy_share = mine("start_here.energy_share")

# %% [markdown]
# {{ item video_cam.frame_cam }}
#
# Grad-CAM of unit 02, for frame t and any network: $\alpha_k^{c,t} = \frac{1}{d_1 d_2}\sum_{ij} G^t_{k,ij}$ and $L^{c,t} =
# \mathrm{ReLU}\big(\sum_k \alpha_k^{c,t} A^{t,k}\big)$.
#
# Write `frame_cam(A, G)`: all T maps at once, shape (T, d1, d2), in the score's own units. Scale nothing.


# %% xaiteach={"role": "answer", "question": "video_cam.frame_cam"}
def frame_cam(A, G):
    ### BEGIN SOLUTION
    alpha = G.mean((2, 3), keepdim=True)  # over places, not over time
    return (alpha * A).sum(1).relu()
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "video_cam.frame_cam"}
check("video_cam.frame_cam")

# %% [markdown]
# {{ item video_cam.stacked_gradient }}
#
# What G is depends on how the clip's score is made. First head: all frames stand in one vector, $z = (z_1, \dots, z_T)$, and $S_c
# = V_c z + b_c$. `V` has shape (C, T·K·d1·d2).
#
# Write `stacked_gradient(A, V, b, c)`: $\partial S_c/\partial A$, of A's shape, without automatic differentiation.


# %% xaiteach={"role": "answer", "question": "video_cam.stacked_gradient"}
def stacked_gradient(A, V, b, c):
    ### BEGIN SOLUTION
    return V[c].reshape(A.shape)  # one block of V_c for each frame
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "video_cam.stacked_gradient"}
check("video_cam.stacked_gradient")

# %% [markdown]
# {{ item video_cam.predict_weights }}
#
# Second head: the features are averaged over time, $S_c = V_c\,\frac{1}{T}\sum_t z_t + b_c$, with `V` of shape (C, K·d1·d2). For a
# clip of 12 frames, how many *different* weight vectors $\alpha^{c,t}$ will there be? Set `predict_weights`.

# %% xaiteach={"role": "answer", "question": "video_cam.predict_weights"}
### BEGIN SOLUTION
predict_weights = 12  # as if every frame had its own
### END SOLUTION

# %% xaiteach={"role": "check", "question": "video_cam.predict_weights"}
check("video_cam.predict_weights")

# %% [markdown]
# {{ item video_cam.mean_gradient }}
#
# Write `mean_gradient(A, V, b, c)`: $\partial S_c/\partial A$ for that head, of A's shape (T, K, d1, d2).


# %% xaiteach={"role": "answer", "question": "video_cam.mean_gradient"}
def mean_gradient(A, V, b, c):
    ### BEGIN SOLUTION
    return (V[c] / len(A)).reshape(A.shape[1:]).expand(A.shape)  # each frame holds 1/T of the mean
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "video_cam.mean_gradient"}
check("video_cam.mean_gradient")

# %% [markdown]
# {{ item video_cam.late_gradient }}
#
# Third head, late fusion: each frame gets its own probabilities $y^t = \mathrm{softmax}(V z_t + b)$, and $S_c = \frac{1}{T}\sum_t
# y_c^t$. Write `late_gradient(A, V, b, c)`: $\partial S_c/\partial A$, of A's shape.


# %% xaiteach={"role": "answer", "question": "video_cam.late_gradient"}
def late_gradient(A, V, b, c):
    ### BEGIN SOLUTION
    y = (A.flatten(1) @ V.T + b).softmax(1)  # (T, C), a softmax for each frame
    against = (y[:, :, None] * (V[c] - V)).sum(1)  # c against its rivals, frame by frame: (T, K d1 d2)
    return (y[:, c : c + 1] * against / len(A)).reshape(A.shape)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "video_cam.late_gradient"}
check("video_cam.late_gradient")

# %% xaiteach={"role": "demo"}
if ready("video_cam.mean_gradient") and ready("video_cam.late_gradient"):
    rng = torch.Generator().manual_seed(0)
    maps = torch.rand(12, 3, 2, 2, generator=rng) * torch.linspace(0, 3, 12)[:, None, None, None]
    V, b = torch.randn(4, 12, generator=rng), torch.zeros(4)
    sure = (maps.flatten(1) @ V.T + b).softmax(1)[:, 1]
    for name, gradient in (("mean of features", mean_gradient), ("late fusion", late_gradient)):
        sizes = torch.as_tensor(gradient(maps, V, b, 1)).flatten(1).norm(dim=1)
        told = ", ".join(f"{float(sizes[t]):.3f}" for t in (0, 4, 8, 11))
        print(f"{name:<17} size of the gradient in frames 0, 4, 8 and 11: {told}")
    print("the frames' own probability of the class:", ", ".join(f"{float(sure[t]):.2f}" for t in (0, 4, 8, 11)))

# %% [markdown]
# Averaged features know no time: one $\alpha$ for all frames, 1 and not 12. In late fusion a frame's weights shrink as it grows sure, for or
# against. "Which frame mattered?" has another answer for each head.

# %% [markdown]
# {{ item video_cam.pooled }}
#
# Some average $\alpha$ over time as well, $\frac{1}{T}\sum_t \alpha_k^{c,t}$, and use it for all frames. The definition does not ask
# for that: it is a choice. For which head does it change nothing? Set `pooled` to the letter.
#
# {{ options video_cam.pooled }}

# %% xaiteach={"role": "answer", "question": "video_cam.pooled"}
### BEGIN SOLUTION
pooled = "b"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "video_cam.pooled"}
check("video_cam.pooled")

# %% [markdown]
# {{ item video_cam.entry }}
#
# Now a clip with a known truth: a camera pans from a cat to a rocket. Nothing moves but the camera, so the rocket does not appear in one
# frame: it enters column by column. Let $t^*$ be the first frame, counted from 0, of which at least half of the columns
# are new.
#
# Write `entry(masks)`. `masks` has shape (T, H, W) and is `True` on the new columns. Return $t^*$; there always is one.


# %% xaiteach={"role": "answer", "question": "video_cam.entry"}
def entry(masks):
    ### BEGIN SOLUTION
    share = masks.double().mean((1, 2))
    return int((share >= 0.5).nonzero()[0, 0])
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "video_cam.entry"}
check("video_cam.entry")

# %% [markdown]
# {{ item video_cam.predict_frame }}
#
# The network of unit 02 looks at each of the 12 frames, and the clip's score for "rocket" is its logit for the features averaged over
# time. A frame's exact share of that score can be negative: the frame speaks against the rocket. From which frame on will the shares
# be above 0? ($t^*$ is 7.) Set `predict_frame`.

# %% xaiteach={"role": "answer", "question": "video_cam.predict_frame"}
### BEGIN SOLUTION
predict_frame = 7  # as if half a rocket were needed
### END SOLUTION

# %% xaiteach={"role": "check", "question": "video_cam.predict_frame"}
check("video_cam.predict_frame")

# %% [markdown]
# {{ item video_cam.shares }}
#
# For a head that is linear in A, the score falls apart into the frames without a rest: $C_t = \sum_{k,ij} G^t_{k,ij}\,A^t_{k,ij}$, and
# $\sum_t C_t = S_c - b_c$. The energy $\sum_{ij} L^{c,t}_{ij}$ is what is left of it after the cut.
#
# The cell below makes `A` and `G` of the clip. Set `shares` to a table of shape (12, 2): share and energy of each frame.

# %% xaiteach={"role": "setup"}
model = models.load("crops_cnn")
clip = data.pan("cat", "rocket")  # .x (12, 3, 64, 64), .y the rocket's class, .mask (12, 64, 64)
A = model.features(clip.x).detach()
leaf = A.clone().requires_grad_()
score = model.classifier(leaf.mean((0, 2, 3)))[clip.y]  # features averaged over time and places
(G,) = torch.autograd.grad(score, leaf)
bias = float(model.classifier.bias.detach()[clip.y])

# %% xaiteach={"role": "answer", "question": "video_cam.shares"}
### BEGIN SOLUTION
share = (G * A).sum((1, 2, 3))  # signed
energy = frame_cam(A, G).sum((1, 2))
shares = torch.stack([share, energy], 1)
### END SOLUTION

# %% xaiteach={"role": "check", "question": "video_cam.shares"}
check("video_cam.shares")

# %% xaiteach={"role": "demo"}
if ready("video_cam.shares") and ready("video_cam.entry"):
    table = torch.as_tensor(shares)
    print(f"shares add up to {float(table[:, 0].sum()):.2f}; score less bias: {float(score.detach()) - bias:.2f}")
    positive = int((table[:, 0] > 0).nonzero()[0, 0])
    guess = "nothing" if predict_frame is ... else predict_frame
    print(f"above 0 from frame {positive} on (you predicted {guess}); t* is {entry(torch.as_tensor(clip.mask))}")
    lines = {"share C_t": plots.Series(table[:, 0].tolist()), "energy": plots.Series(table[:, 1].tolist())}
    lines["fraction of new columns"] = plots.Series(clip.fraction.tolist(), dashed=True)
    display(plots.curves(lines, list(range(12)), x_label="frame t", y_label="logit"))

# %% xaiteach={"role": "demo"}
if ready("video_cam.frame_cam"):
    found = torch.as_tensor(frame_cam(A, G))
    inside = torch.from_numpy(clip.mask)[:, ::8, ::8]
    for t in (5, 6, 7, 9):
        part = float(energy_share(found[t], inside[t]))
        print(
            f"frame {t}: {part:.0%} of the map lies on the rocket's columns, which are {float(inside[t].double().mean()):.0%} of it"
        )

# %% [markdown]
# The first frames have next to no energy and a share below 0: the cat argues against the rocket, and the cut hides it. Two frames before
# $t^*$ a quarter of the columns is new, and the share is just about to turn. Which moment is "the" entry depends on what is asked.

# %% [markdown]
# {{ item video_cam.per_frame }}
#
# A report shows the 12 maps, each divided by its own maximum. What can be read from the map of frame 0? Set `per_frame`.
#
# {{ options video_cam.per_frame }}

# %% xaiteach={"role": "answer", "question": "video_cam.per_frame"}
### BEGIN SOLUTION
per_frame = "c"
### END SOLUTION

# %% xaiteach={"role": "check", "question": "video_cam.per_frame"}
check("video_cam.per_frame")

# %% xaiteach={"role": "demo"}
if ready("video_cam.frame_cam"):
    some = [found[t] for t in (0, 6, 11)]
    display(plots.compare(some, ["frame 0", "frame 6", "frame 11"], units="logit per place"))
    print("brightest place, one scale:", [round(float(heat.max()), 4) for heat in some], "- scaled each: [1, 1, 1]")

# %% [markdown]
# {{ item video_cam.window }}
#
# With convolutions in time the maps have $T' < T$ frames, and $A^{t'}$ has seen a window of the clip. Take one such convolution
# with a kernel of `kernel` frames, a stride and a padding of empty frames at both ends.
#
# Write `window(T, kernel, stride, padding, t)`: the first and the last frame of the clip that output `t` depends on, counted from 0.


# %% xaiteach={"role": "answer", "question": "video_cam.window"}
def window(T, kernel, stride, padding, t):
    ### BEGIN SOLUTION
    first = t * stride - padding
    return max(first, 0), min(first + kernel - 1, T - 1)
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "video_cam.window"}
check("video_cam.window")

# %% xaiteach={"role": "demo"}
if ready("video_cam.window"):
    for t in range(6):
        first, last = window(12, 3, 2, 1, t)
        print(f"t' = {t}: frames {first} to {last}")

# %% [markdown]
# Say "near frame 6", not "in frame 6": a map of index $t'$ is drawn over the clip after it was stretched in time, too.

# %% [markdown]
# {{ item video_cam.reading }}
#
# A colleague shows a strip of frames with heat maps: "The bright frames are the ones that made the network say rocket." Set
# `reading` to what you would ask and answer, in four to eight sentences.

# %% xaiteach={"role": "answer", "question": "video_cam.reading"}
### BEGIN SOLUTION
reading = """
First I would ask for which score and class the maps are: they explain the clip's score for rocket, also in frames that
the network alone would call a cat. Then on which scale: if each frame was divided by its own maximum, frame 0 is as
bright as frame 11, though its energy is next to nothing. On one scale, bright means that much speaks for the class in
that frame after the cut. What speaks against it was cut, so a dark frame may have pulled the score down; the exact share
C_t shows that, and the shares add up to the score less its bias. Last, what the head can know: with averaged features
the weights are the same for all frames, in late fusion a sure frame has small ones, and after a stride in time a map
belongs to a window of frames, not to one.
"""
### END SOLUTION

# %% xaiteach={"role": "check", "question": "video_cam.reading"}
check("video_cam.reading")

# %% [markdown]
# ## What would be handed in
#
# Save first (Ctrl+S). The cell below compares the saved file with what you last checked, runs it from a fresh start, and
# writes a receipt.

# %% xaiteach={"role": "demo"}
receipt("03_video_cam")
