"""The Gaussian of embeddings: white latents become draws with the mean and the covariance that were measured."""

import pytest
import torch

from cranial.nets.gaussian import EmbeddingGaussian

SHAPE = (2, 2, 1, 1)


def embeddings(count: int = 4000) -> torch.Tensor:
    """Numbers that depend on each other, about a mean that is not 0."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0, 0, 0], [1.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, -0.7, 0.1]])
    white = torch.randn(count, 4, generator=rng)
    return (white @ mixing.T + torch.tensor([1.0, -2, 0, 3])).view(count, *SHAPE)


def measured(rank: int) -> EmbeddingGaussian:
    gaussian = EmbeddingGaussian(SHAPE, rank)
    gaussian.measure(embeddings())
    return gaussian


def test_draws_have_the_mean_and_the_covariance_of_the_embeddings():
    rng = torch.Generator().manual_seed(1)
    drawn = measured(4)(torch.randn(20_000, *SHAPE, generator=rng)).flatten(1)
    wanted = embeddings().flatten(1)
    torch.testing.assert_close(drawn.mean(0), wanted.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), wanted.T.cov(), atol=0.1, rtol=0.05)


def test_the_mean_is_at_the_origin_and_an_axis_is_as_long_as_its_standard_deviation():
    gaussian = measured(2)
    torch.testing.assert_close(gaussian(torch.zeros(1, *SHAPE)).flatten(), embeddings().flatten(1).mean(0))
    first = gaussian(gaussian.axes[:1].view(1, *SHAPE)).flatten() - gaussian.middle
    torch.testing.assert_close(first.norm(), gaussian.spread[0])
    largest = torch.linalg.eigvalsh(embeddings().flatten(1).T.cov())[-1]
    torch.testing.assert_close(gaussian.spread[0].square(), largest, rtol=1e-4, atol=0)


def test_what_lies_across_the_kept_axes_is_left_out():
    gaussian = measured(1)
    across = torch.tensor([1.0, 0, 0, 0]) - gaussian.axes[0, 0] * gaussian.axes[0]
    torch.testing.assert_close(gaussian(across.view(1, *SHAPE)).flatten(), gaussian.middle)


def test_it_refuses_to_draw_before_it_was_measured():
    with pytest.raises(ValueError, match="Gaussian of the embeddings is not known yet"):
        EmbeddingGaussian(SHAPE, 2)(torch.zeros(1, *SHAPE))


@pytest.mark.parametrize("rank", [0, 5])
def test_a_rank_that_no_embedding_has_is_refused(rank):
    with pytest.raises(ValueError, match=f"rank is {rank}, an embedding has 4 numbers; choose 1 to 4"):
        EmbeddingGaussian(SHAPE, rank)


def test_too_few_embeddings_are_refused():
    with pytest.raises(ValueError, match="3 embeddings have fewer than 3 axes; lower the rank"):
        EmbeddingGaussian(SHAPE, 3).measure(embeddings(3))
