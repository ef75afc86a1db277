import pytest
import torch
from scipy import stats

from proto_envs.components.masking import (
    CONSTRAINTS,
    ROLES,
    MaskRules,
    beta_2_5,
    constraint_mask,
    draw_mask,
    next_frame_mask,
)

RULES = MaskRules()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def frames(rules, count, steps, *, rows=7, informed=False, gapless=False):
    """Masks (steps, n, R, 2), the masks that were held and the gaps left after each frame."""
    held, gap = torch.zeros(count, rows, 2, dtype=torch.bool), torch.zeros(count, dtype=torch.long)
    flags = (torch.full((count,), gapless), torch.full((count,), informed))
    draw, shown, kept, left = generator(), [], [], []
    for _ in range(steps):
        mask, held, gap = next_frame_mask(rules, held, gap, *flags, draw)
        shown.append(mask)
        kept.append(held)
        left.append(gap)
    return torch.stack(shown), torch.stack(kept), torch.stack(left)


def assert_frequencies(found, probabilities):
    """Chi-squared test of counts that should come up in one case of ten thousand at worst."""
    expected = torch.tensor(probabilities, dtype=torch.float64)
    expected *= found.sum() / expected.sum()
    assert stats.chisquare(found.numpy(), expected.numpy()).pvalue > 1e-4, (found, expected)


# --- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [6, 7])
def test_the_number_of_rows_is_uniform_or_small_or_all(rows):
    mask = draw_mask(RULES, rows, 20_000, generator())
    chosen = mask.any(-1).sum(-1)
    probabilities = [0.8 / rows + 0.1 * (k <= 3) / 3 + 0.1 * (k == rows) for k in range(1, rows + 1)]
    assert_frequencies(torch.bincount(chosen, minlength=rows + 1)[1:], probabilities)


def test_rows_come_up_equally_often_and_so_do_kinds():
    mask = draw_mask(RULES, 7, 20_000, generator())
    assert_frequencies(mask.any(-1).sum(0), [1 / 7] * 7)
    first, second = mask.unbind(-1)
    kinds = [(first & ~second).sum(), (second & ~first).sum(), (first & second).sum()]
    assert_frequencies(torch.stack(kinds), [1 / 3] * 3)


def test_masks_follow_from_the_generator():
    assert torch.equal(draw_mask(RULES, 7, 50, generator(3)), draw_mask(RULES, 7, 50, generator(3)))
    assert not torch.equal(draw_mask(RULES, 7, 50, generator(3)), draw_mask(RULES, 7, 50, generator(4)))


# --- near frames -----------------------------------------------------------------------------------------------------


def test_a_frame_keeps_the_mask_of_the_frame_before_in_98_of_100_cases():
    shown, held, _ = frames(MaskRules(gap_share=0.0), 2000, 100)
    assert torch.equal(shown, held)
    changed = (held[1:] != held[:-1]).flatten(2).any(-1).float()
    pairs = draw_mask(RULES, 7, 40_000, generator(9))
    same = (pairs[:20_000] == pairs[20_000:]).flatten(1).all(-1).float().mean()
    # 198,000 coins: standard deviation 0.0003.
    assert changed.mean() == pytest.approx(0.02 * (1 - float(same)), abs=0.0015)
    # Each environment has coins of its own: not all change at once.
    assert changed.mean(-1).max() < 0.05


@pytest.mark.parametrize("informed", [False, True])
def test_gaps_begin_by_chance_and_last_1_to_9_frames_some_of_them_four_times_as_long(informed):
    shown, _, left = frames(RULES, 2000, 60, informed=informed)
    before = torch.cat([torch.zeros_like(left[:1]), left[:-1]])
    free = before == 0
    hidden = ~shown.flatten(2).any(-1)
    begun = free & hidden
    assert (begun.sum() / free.sum()).item() == pytest.approx(0.1, abs=0.005)
    # A gap of n frames that has just begun has n - 1 to come.
    length = torch.bincount(left[begun] + 1, minlength=37)
    uniform = torch.zeros(37)
    uniform[1:10] = 0.8 / 9 if informed else 1 / 9
    if informed:
        uniform[4:37:4] += 0.2 / 9
    possible = uniform > 0
    assert not length[~possible].any()
    assert_frequencies(length[possible], uniform[possible].tolist())
    if not informed:
        # Renewals: 9 frames shown on average between gaps of 5.
        assert hidden[30:].float().mean() == pytest.approx(5 / 14, abs=0.01)


def test_a_gap_does_not_make_the_mask_be_forgotten():
    shown, held, _ = frames(MaskRules(near_repeat=1.0, gap_share=0.5), 50, 40)
    assert (held == held[:1]).all()
    visible = shown.flatten(2).any(-1)
    assert 0.0 < visible.float().mean() < 1.0
    assert torch.equal(shown[visible], held[visible])


def test_some_episodes_have_no_gaps():
    shown, _, _ = frames(RULES, 100, 60, gapless=True)
    assert shown.flatten(2).any(-1).all()


# --- times and presets -----------------------------------------------------------------------------------------------


def test_times_are_beta_distributed():
    draws = beta_2_5(5000, generator())
    assert stats.kstest(draws.numpy(), stats.beta(2, 5).cdf).pvalue > 1e-3
    assert draws.mean() == pytest.approx(2 / 7, abs=0.01)


def test_presets_name_positions_and_rotations():
    roles = {role: row for row, role in enumerate(ROLES)}
    found = {name: constraint_mask(name, roles, 7) for name in CONSTRAINTS}
    assert found["full_body"][:6].all() and not found["full_body"][6].any()
    assert not found["none"].any()
    assert found["vr"].any(-1).nonzero().flatten().tolist() == [1, 2, 3] and found["vr"][1:4].all()
    assert found["pelvis_head_position"].tolist() == [[True, False], [True, False]] + [[False, False]] * 5
    assert found["feet"].any(-1).nonzero().flatten().tolist() == [4, 5]
    with pytest.raises(ValueError, match=r"constraint 'feet' is about the left_foot, and no goal names it"):
        constraint_mask("feet", {"pelvis": 0}, 7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"far_hidden": 1.5}, r"far_hidden must be in \[0, 1\]"),
        ({"near_frames": -1}, "near_frames must not be negative"),
        ({"few_rows": 0}, "few_rows must be at least 1"),
        ({"near_frames": 0, "far_poses": 0}, "want at least one slot"),
        ({"few_share": 0.7, "all_share": 0.6}, "must not be more than 1 together"),
        ({"gap_frames": (4, 2)}, "gap_frames must grow"),
        ({"constraint": "toes"}, "constraint 'toes'; there are"),
    ],
)
def test_impossible_rules_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        MaskRules(**wrong).check("task")
