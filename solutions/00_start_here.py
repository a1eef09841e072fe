# %% [markdown]
# # 00 · Start here: exercises
#
# **Goals.** Answer one question, see how a check speaks, and keep the function for the units to come.
#
# **You need** `notebooks/00_start_here.ipynb`. **Time** 5 minutes. **Machine** any CPU.

# %% xaiteach={"role": "setup"}
import torch

from xaiteach.widgets import check, hint, progress, ready, receipt, solution

# %% [markdown]
# {{ item start_here.energy_share }}
#
# An explanation of an image is a map: one number for each pixel. When we know where the object is, we can ask how much of
# the map lies on it.
#
# Write `energy_share(heat, mask)`. `heat` is a tensor of shape (H, W) with no negative numbers; `mask` has the same shape
# and is `True` on the object. Return the share of the map's total that lies inside the mask: a number between 0 and 1.
# The total is never zero here. Leave `heat` as it is: whoever calls you may still need it.


# %% xaiteach={"role": "answer", "question": "start_here.energy_share"}
def energy_share(heat, mask):
    ### BEGIN SOLUTION
    return heat[mask].sum() / heat.sum()
    ### END SOLUTION


# %% xaiteach={"role": "check", "question": "start_here.energy_share"}
check("start_here.energy_share")

# %% [markdown]
# ## See what it does
#
# The same map under two masks. Before you run the cell: which share is larger, and what do the two add up to?

# %% xaiteach={"role": "demo"}
if ready("start_here.energy_share"):
    heat = torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 6.0]])
    right = torch.tensor([[False, False, True], [False, False, True]])
    print(f"right column {energy_share(heat, right):.2f}, the rest {energy_share(heat, ~right):.2f}")

# %% [markdown]
# A mask and its complement always share the whole. So a share says something only beside what chance would give: the
# mask's share of the *area*, here one third. You will meet this function again: in later units
# `mine("start_here.energy_share")` brings back what you wrote here.

# %% [markdown]
# ## What would be handed in
#
# `progress()` says how far you are in the whole course. The last cell compares the saved notebook with what you last
# checked, runs it from a fresh start, and writes a receipt with a hash. Save first (Ctrl+S).

# %% xaiteach={"role": "demo"}
progress()

# %% xaiteach={"role": "demo"}
receipt("00_start_here")
