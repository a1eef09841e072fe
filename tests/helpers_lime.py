"""The lime package's image explainer, given masks instead of drawing its own."""

from __future__ import annotations

from typing import Any

import lime.lime_image as lime_image
import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]


class GivenMasks(np.random.RandomState):
    """A random state whose `randint` hands out given masks."""

    masks: Array

    def randint(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return self.masks.ravel().copy()


def by_the_lime_package(
    x: Array, labels: Array, masks: Array, classifier: Any, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[Array, float]:
    """Coefficients (M,) of class 1, and the intercept, for masks (N, M) of an image (3, h, w)."""
    state = GivenMasks(0)
    state.masks = masks.astype(int)
    monkeypatch.setattr(lime_image, "tqdm", iter)
    found = lime_image.LimeImageExplainer(random_state=state).explain_instance(
        x.transpose(1, 2, 0),
        classifier,
        labels=(1,),
        top_labels=None,
        num_samples=len(masks),
        segmentation_fn=lambda _: labels,
        random_seed=0,
        **options,
    )
    coef = np.zeros(masks.shape[1])
    for superpixel, value in found.local_exp[1]:
        coef[superpixel] = value
    return coef, float(found.intercept[1])
