"""The learning rate of every step, as a factor of the recipe's."""

import math

from linksim.training.recipe import Recipe


def rate_factor(recipe: Recipe, step: int, decay_from: int | None = None) -> float:
    """What the recipe's learning rates are multiplied by at a step, counted from 0.

    A linear warm-up, then, by ``recipe.schedule``:

    ``cosine``: down to ``lr_final`` at the recipe's last step.
    ``wsd`` (warm-up, stable, decay; Hu et al., MiniCPM, arXiv 2404.06395): constant; a decay that
    begins after ``decay_from`` steps falls as 1 - sqrt(t) to ``lr_final`` within ``decay_steps``
    (Hägele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations,
    NeurIPS 2024, section 3.2).
    """
    floor = recipe.lr_final / recipe.lr
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.schedule == "cosine":
        done = (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
    if decay_from is None or recipe.decay_steps is None or step < decay_from:
        return 1.0
    done = (step + 1 - decay_from) / recipe.decay_steps
    return floor + (1 - floor) * (1 - math.sqrt(min(done, 1)))


def last_step(recipe: Recipe, decay_from: int | None = None) -> int:
    """How many steps there are in all."""
    return recipe.steps if decay_from is None else decay_from + (recipe.decay_steps or 0)


def crop_of(recipe: Recipe, step: int, decay_from: int | None = None) -> int:
    """Side of the crops of a step, counted from 0.

    The last steps, which may have larger ones, are those of the cosine or of the decay: a
    constant rate knows no end.
    """
    last = recipe.images.last
    if last is None or (recipe.schedule == "wsd" and decay_from is None):
        return recipe.images.crop
    begin = last_step(recipe, decay_from) - last.steps
    return last.crop if step >= begin else recipe.images.crop


def pixels_seen(recipe: Recipe, steps: int, decay_from: int | None = None) -> int:
    """Pixels of all crops of so many steps."""
    last, side = recipe.images.last, recipe.images.crop
    large = 0
    if last is not None and not (recipe.schedule == "wsd" and decay_from is None):
        large = min(max(steps - (last_step(recipe, decay_from) - last.steps), 0), steps)
    area = (steps - large) * side**2 + (large * last.crop**2 if last else 0)
    return recipe.batch_size * area
