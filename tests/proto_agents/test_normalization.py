import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proto_agents.models import RunningNormalizer


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), offset=st.floats(-1e3, 1e3), scale=st.floats(0.01, 100.0))
def test_matches_numpy_over_uneven_batches(seed, offset, scale):
    data = np.random.default_rng(seed).normal(offset, scale, (101, 3)).astype(np.float32)
    normalizer = RunningNormalizer((3,))
    for part in np.split(data, [1, 7, 50]):
        normalizer.update(torch.as_tensor(part))
    exact = data.astype(np.float64)
    np.testing.assert_allclose(normalizer.mean.numpy(), exact.mean(0), rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(normalizer.variance.numpy(), exact.var(0), rtol=2e-3, atol=1e-9)
    assert normalizer.count.item() == 101


def test_large_offset_does_not_cancel():
    data = 1e4 + torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    normalizer = RunningNormalizer((2,))
    for part in data.split(8):
        normalizer.update(part)
    np.testing.assert_allclose(normalizer.variance.numpy(), data.double().var(0, correction=0).numpy(), rtol=1e-3)


def test_starts_as_the_identity_and_inverts():
    normalizer = RunningNormalizer((2,), clip=None)
    value = torch.tensor([[0.5, -3.0]])
    torch.testing.assert_close(normalizer.normalize(value), value, rtol=1e-4, atol=0)
    normalizer.update(torch.randn(50, 2) * 4 + 3)
    torch.testing.assert_close(normalizer.denormalize(normalizer.normalize(value)), value)


def test_clips_and_survives_a_constant_feature():
    normalizer = RunningNormalizer((1,))
    normalizer.update(torch.full((10, 1), 7.0))
    assert normalizer.normalize(torch.tensor([[7.0]])).item() == 0.0
    assert normalizer.normalize(torch.tensor([[100.0]])).item() == 5.0


def test_input_is_left_alone_and_empty_batches_do_nothing():
    normalizer = RunningNormalizer((2,))
    batch = torch.randn(5, 2)
    copy = batch.clone()
    normalizer.update(batch)
    normalizer.normalize(batch)
    normalizer.update(torch.empty(0, 2))
    assert torch.equal(batch, copy) and normalizer.count.item() == 5


def test_statistics_travel_in_the_state_dict():
    source, target = RunningNormalizer((2,)), RunningNormalizer((2,))
    source.update(torch.randn(9, 2))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source.variance, target.variance) and target.mean.dtype == torch.float64
