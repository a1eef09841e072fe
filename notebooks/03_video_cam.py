# %% [markdown]
# # 03 · A heat map for each frame
#
# **Goals.** Take Grad-CAM from a picture to a clip: one map for each frame, for the score of the whole. See that it depends on how
# the score is made, and what scaling and averaging hide.
#
# **You need** unit 02. **Time** 25 minutes, with one exploration. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, models, plots

model = models.load("crops_cnn")
clip = data.pan("cat", "rocket")
classes = data.crops(split="test").class_names

# %% [markdown]
# ## A camera moves
#
# Twelve frames: the camera stands before a cat and pans to a rocket on its launch pad. The network was trained on single crops and
# never saw a frame with both. We know which columns of which frame are new.

# %% xaiteach={"role": "demo"}
with torch.no_grad():
    each = model(clip.x).softmax(1)
for t in (0, 3, 5, 7, 9, 11):
    best = int(each[t].argmax())
    print(
        f"frame {t:>2}: {clip.fraction[t]:.0%} new; alone it would be called {classes[best]} ({float(each[t, best]):.0%})"
    )
print(f"t*, the first frame of which half is new: {clip.t_star}")

# %% [markdown]
# In between it names things that are in neither picture. A frame's own prediction is one question; what the frame does for the
# score of the *clip* is another, and that is what is asked here.

# %% [markdown]
# ## One definition, many heads
#
# For any network: the clip has a score $S_c$. Its gradient by frame t's maps, averaged over places, gives $\alpha_k^{c,t}$; the map is
# $L^{c,t} = \mathrm{ReLU}(\sum_k \alpha_k^{c,t} A^{t,k})$. How frames become one score decides what the gradient is.
#
# **Predict:** the clip's score is the logit of the features averaged over all frames. Exchange two frames. What happens to the
# score, and what to $\alpha$?

# %% xaiteach={"role": "demo"}
A = model.features(clip.x).detach().requires_grad_()
score = model.classifier(A.mean((0, 2, 3)))[clip.y]
(G,) = torch.autograd.grad(score, A)
alpha = G.mean((2, 3))
print(f"alpha of frame 0 and of frame 11 differ by at most {float((alpha[0] - alpha[11]).abs().max()):.0e}")
late = model.classifier(A.mean((2, 3))).softmax(1)[:, clip.y].mean()
(G_late,) = torch.autograd.grad(late, A)
sizes = G_late.mean((2, 3)).norm(dim=1)
print("late fusion, size of alpha:", ", ".join(f"{t}: {float(sizes[t]):.0e}" for t in (0, 4, 7, 11)))

# %% [markdown]
# An average does not know the order: one $\alpha$ for all frames, and what tells the frames apart is $A^t$ alone. Where each frame has its
# own softmax and probabilities are averaged, a frame that is sure, for or against, hardly counts: a nudge would not change
# its mind.

# %% [markdown]
# ## Frame by frame
#
# The first picture is the frame, the second its map; the curves show all frames: the energy of each map, and the frame's exact
# share of the score, which the next section takes apart. **Predict:** will the rocket's map be brightest at $t^*$? Then see what
# happens when each frame is scaled by its own maximum. Every control works from the keyboard (Tab, arrows, Home, End).

# %% xaiteach={"role": "demo"}
from xaiteach.widgets import frame_slider

frame_slider()

# %% [markdown]
# Read it aloud: *in frame 0 next to nothing speaks for the rocket, and scaled by itself it shines like the last frame.* A scale for each frame
# says where, and no longer how much. "Nothing but gravel, and dim" shows another trap: with averaged probabilities the last frame's
# map is darker than that of $t^*$, though the network gives it gravel with 94 %. A sure frame has little slope left; dim does
# not mean that gravel is missing.

# %% [markdown]
# ## Energy and share
#
# The map's sum, its energy, is what speaks *for* the class. A head that is linear in A allows more: the score falls apart into the
# frames, $C_t = \sum G^t A^t$, exactly, with signs.

# %% xaiteach={"role": "demo"}
with torch.no_grad():
    share = (G * A).sum((1, 2, 3))
    maps = (alpha[:, :, None, None] * A).sum(1).relu()
    rest = float(score) - float(model.classifier.bias[clip.y])
print(f"the shares add up to {float(share.sum()):.3f}, the score less its bias is {rest:.3f}")
lines = {"share C_t": plots.Series(share.tolist()), "energy": plots.Series(maps.sum((1, 2)).tolist())}
plots.curves(lines, list(range(12)), x_label="frame t", y_label="logit", title="What each frame does for the rocket")

# %% [markdown]
# While the cat fills the frame, the energy is almost 0 and the share is not: the cat argues against the rocket, and the ReLU cuts
# that away. A dark map does not say "nothing here".

# %% [markdown]
# ## Windows
#
# Networks for video also convolve over time. With a stride their maps have fewer frames than the clip, and index $t'$ looks at a
# window. Here is what each output of a convolution with a kernel of 3, stride 2 and padding 1 depends on.

# %% xaiteach={"role": "demo"}
layer = torch.nn.Conv1d(1, 1, 3, stride=2, padding=1)
for t in range(6):
    frames = torch.zeros(1, 1, 12, requires_grad=True)
    layer(frames)[0, 0, t].backward()
    print(f"t' = {t} looks at frames {frames.grad[0, 0].nonzero().flatten().tolist()}")

# %% [markdown]
# Now derive the heads yourself: `exercises/03_video_cam.ipynb`.
