# %% [markdown]
# # 00 · Start here
#
# **Goals.** See one explanation of one picture, and learn how the exercises of this course work.
#
# **You need** Python and a little PyTorch. **Time** 10 minutes. **Machine** any CPU; a GPU is used where there is one.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach import data, explain, models, plots
from xaiteach.widgets import check, hint, solution

# %% [markdown]
# ## A network that looks at two things
#
# The network below was trained on small crops of ten pictures. We show it two crops at once: on the left the eye of a
# cat, on the right a spoon on the red table of a picture of a cup of coffee.
#
# For each class the network gives a *score*: the higher, the more it believes in the class. *Where in the picture does
# the score for "coffee" come from?* Grad-CAM, which unit 02 derives, answers with a map: one number for each place.

# %% xaiteach={"role": "demo"}
model = models.load("crops_cnn")
crops = data.crops(split="test")
pair = crops.pairs[0]
coffee = crops.class_names.index("coffee")
explanation = explain(model, pair.x, target=coffee, method="grad_cam")
explanation.plot(pair.x, title="Grad-CAM for coffee")

# %% [markdown]
# Read it aloud: *the score for coffee rests mostly on the right half, where the picture of the coffee is.* Under every figure of this
# course stands a line that reads it from the same numbers, for those who do not see the colours. Its *weight* is the
# sum of the map's absolute values; rows and columns count from 0.
#
# A bright place means *more than elsewhere in this map*. It does not mean "important" in any absolute sense, and two maps
# that were each scaled to their own maximum cannot be compared.

# %% [markdown]
# ## How an exercise works
#
# 1. **Predict** before you run. A wrong prediction teaches most.
# 2. **Write** the few lines that are asked. A blank is written `...`, and an untouched notebook runs to its end.
# 3. **Check** with the call under the cell. It says right, or which mistake your answer looks like; a known mistake may
#    earn part of the points.
# 4. **Hints** come in three steps and cost nothing; after a try the model answer opens, where your release has it: with
#    the buttons under a check, or `hint("start_here.energy_share")` and `solution("start_here.energy_share")`.
# 5. **Hand in** the saved file; the last cell of each exercise says what that would be.
#
# Here is a wrong answer, on purpose:


# %% xaiteach={"role": "demo"}
def energy_share(heat, mask):
    return heat[mask].mean() / heat.mean()


check("start_here.energy_share")

# %% [markdown]
# The check found more than "wrong": it knows this mistake, says what it computes, and shows the smallest case that
# fails. What you checked is kept in a history in your course folder, so nothing you tried is lost.

# %% xaiteach={"role": "demo"}
hint("start_here.energy_share", step=1)

# %% [markdown]
# ## Your turn
#
# Open `exercises/00_start_here.ipynb` and answer its one question. Then go on with `notebooks/01_gradients.ipynb`.
