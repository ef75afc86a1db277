import torch

from proto_agents.models import Categorical, Gaussian


def test_gaussian_agrees_with_torch():
    mean, old_mean = torch.randn(6, 4), torch.randn(6, 4)
    log_std, old_std = torch.randn(4) * 0.3, torch.rand(4) + 0.5
    ours = Gaussian(mean, log_std)
    oracle = torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp()), 1)
    old = torch.distributions.Independent(torch.distributions.Normal(old_mean, old_std), 1)
    action = torch.randn(6, 4)
    torch.testing.assert_close(ours.log_prob(action), oracle.log_prob(action))
    torch.testing.assert_close(ours.entropy(), oracle.entropy())
    torch.testing.assert_close(ours.kl_from(old_mean, old_std), torch.distributions.kl_divergence(old, oracle))
    assert torch.equal(ours.mode(), mean)


def test_gaussian_samples_have_its_moments_and_follow_the_generator():
    ours = Gaussian(torch.full((20_000, 1), 2.0), torch.tensor([0.5]).log())
    sample = ours.sample(torch.Generator().manual_seed(1))
    assert abs(sample.mean().item() - 2.0) < 0.02 and abs(sample.std().item() - 0.5) < 0.02
    assert torch.equal(sample, ours.sample(torch.Generator().manual_seed(1)))


def test_categorical_agrees_with_torch():
    logits, old_logits = torch.randn(7, 5), torch.randn(7, 5)
    ours, oracle = Categorical(logits), torch.distributions.Categorical(logits=logits)
    old = torch.distributions.Categorical(logits=old_logits)
    action = torch.randint(0, 5, (7,))
    torch.testing.assert_close(ours.log_prob(action), oracle.log_prob(action))
    torch.testing.assert_close(ours.entropy(), oracle.entropy())
    expected = torch.distributions.kl_divergence(old, oracle)
    torch.testing.assert_close(ours.kl_from(Categorical(old_logits).parameters, None), expected)
    assert torch.equal(ours.mode(), oracle.probs.argmax(-1))


def test_categorical_samples_have_its_frequencies():
    probabilities = torch.tensor([0.1, 0.6, 0.3])
    sample = Categorical(probabilities.log().expand(20_000, 3)).sample(torch.Generator().manual_seed(0))
    frequencies = torch.bincount(sample, minlength=3) / 20_000
    torch.testing.assert_close(frequencies, probabilities, atol=0.02, rtol=0)
