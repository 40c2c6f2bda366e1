"""The RQ-VAE and its training on a toy world: twelve clusters of vectors that the eye can count."""

import numpy as np
import pytest
import torch

from modeling_mender.configuration_rqvae import RQVAEConfig
from modeling_mender.modeling_rqvae import RQVAEModel
from modeling_mender.quantization.rqvae_training import evaluate_rqvae, reset_unused_entries, train_rqvae

NUM_KINDS = 12


def toy_config(**changes) -> RQVAEConfig:
    sizes = {"embedding_size": 16, "hidden_sizes": [32, 8], "num_codebooks": 2, "codebook_size": 12}
    return RQVAEConfig(**{**sizes, **changes})


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """240 vectors, 20 around each of 12 centres: row i belongs to kind i % 12."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(NUM_KINDS, 16))
    return (centres[np.arange(240) % NUM_KINDS] + 0.15 * rng.normal(size=(240, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def trained(embeddings) -> tuple[RQVAEModel, list[dict]]:
    return train_rqvae(embeddings, toy_config(), epochs=60, batch_size=60, seed=3, progress=False)


@pytest.fixture
def model(embeddings) -> RQVAEModel:
    torch.manual_seed(0)
    model = RQVAEModel(toy_config()).eval()
    model.set_standardization(torch.from_numpy(embeddings))
    return model


def test_training_lowers_the_loss_and_uses_every_code(trained):
    _, history = trained
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert min(record["reconstruction_loss"] for record in history) < 0.35  # 1.0 is what the mean embedding achieves
    assert min(history[-1]["coverage"]) > 0.9


def test_items_of_one_kind_share_their_first_code(trained, embeddings):
    first = trained[0].encode(torch.from_numpy(embeddings))[:, 0].numpy()
    majority = sum(np.bincount(first[np.arange(240) % NUM_KINDS == kind]).max() for kind in range(NUM_KINDS))
    assert majority / 240 > 0.9


def test_the_best_state_is_kept(trained, embeddings):
    model, history = trained
    best = min(record["reconstruction_loss"] for record in history)
    assert evaluate_rqvae(model, torch.from_numpy(embeddings))["reconstruction_loss"] == pytest.approx(best, rel=1e-5)
    assert [r["kept"] for r in history] == [
        r["reconstruction_loss"] < min((b["reconstruction_loss"] for b in history[:i]), default=np.inf)
        for i, r in enumerate(history)
    ]


def test_a_seed_decides_everything_and_the_callers_random_state_is_untouched(embeddings):
    def run(seed: int) -> dict[str, torch.Tensor]:
        return train_rqvae(embeddings, toy_config(), epochs=4, batch_size=100, seed=seed, progress=False)[
            0
        ].state_dict()

    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = run(5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    second, other = run(5), run(6)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["codebooks"], other["codebooks"])


def test_straight_through_gradient_is_the_decoders_gradient_at_the_codes(model, embeddings):
    batch = torch.from_numpy(embeddings[:30])
    output = model(batch)
    gradient = torch.autograd.grad(output.reconstruction_loss, model.encoder[0].linear.weight)[0]
    assert gradient.abs().sum() > 0

    # By hand: gradient of the error with respect to the quantised latents, handed on to the latents.
    latents = model.latents(batch)
    levels = torch.arange(model.config.num_codebooks)
    quantized = model.codebooks.detach()[levels, output.codes].sum(dim=1).requires_grad_()
    standardized = (batch - model.embedding_mean) / model.embedding_std
    error = (model.output(model.decoder(quantized)) - standardized).square().mean()
    (at_codes,) = torch.autograd.grad(error, quantized)
    (expected,) = torch.autograd.grad(latents, model.encoder[0].linear.weight, grad_outputs=at_codes)
    torch.testing.assert_close(gradient, expected)


def test_losses_equal_the_slow_sums_and_move_the_right_parameters(model, embeddings):
    batch = torch.from_numpy(embeddings[:20])
    output = model(batch)
    residual, distance = model.latents(batch).detach(), 0.0
    for level, codebook in enumerate(model.codebooks.detach()):
        distances = torch.cdist(residual, codebook)
        assert torch.equal(distances.argmin(dim=1), output.codes[:, level])
        residual = residual - codebook[output.codes[:, level]]
        distance += residual.square().mean().item()
    assert output.codebook_loss.item() == pytest.approx(distance, rel=1e-5)
    assert output.commitment_loss.item() == pytest.approx(distance, rel=1e-5)
    assert output.loss.item() == pytest.approx(output.reconstruction_loss.item() + 1.25 * distance, rel=1e-5)

    encoder_weight = model.encoder[0].linear.weight
    assert torch.autograd.grad(output.codebook_loss, encoder_weight, retain_graph=True, allow_unused=True) == (None,)
    assert torch.autograd.grad(output.commitment_loss, model.codebooks, retain_graph=True, allow_unused=True) == (
        None,
    )
    used = torch.autograd.grad(output.codebook_loss, model.codebooks)[0].abs().sum(dim=2) > 0
    assert used[0].nonzero().squeeze(1).tolist() == output.codes[:, 0].unique().tolist()


def test_encode_then_decode_is_the_reconstruction_of_forward(trained, embeddings):
    model, batch = trained[0], torch.from_numpy(embeddings)
    output = model(batch)
    assert torch.equal(model.encode(batch), output.codes)
    torch.testing.assert_close(model.decode(output.codes), output.reconstruction)
    standardized_error = ((output.reconstruction - batch) / model.embedding_std).square().mean()
    torch.testing.assert_close(standardized_error, output.reconstruction_loss)


def test_save_and_load_are_equal_bit_for_bit(trained, embeddings, tmp_path):
    model, batch = trained[0], torch.from_numpy(embeddings)
    model.save_pretrained(tmp_path)
    loaded, report = RQVAEModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert not loaded.training
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(loaded.encode(batch), model.encode(batch))
    assert loaded.config.to_dict() | {"_name_or_path": ""} == model.config.to_dict() | {"_name_or_path": ""}


def test_the_model_can_be_built_on_the_meta_device_and_in_bfloat16(trained, embeddings, tmp_path):
    with torch.device("meta"):
        assert RQVAEModel(toy_config()).codebooks.is_meta
    trained[0].save_pretrained(tmp_path)
    half = RQVAEModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.codebooks.dtype == half.embedding_mean.dtype == torch.bfloat16
    batch = torch.from_numpy(embeddings)
    output = half(batch)
    output.loss.backward()
    assert torch.isfinite(output.loss) and half.encoder[0].linear.weight.grad.isfinite().all()
    same = (half.encode(batch)[:, 0] == trained[0].encode(batch)[:, 0]).float().mean()
    assert same > 0.9  # rounding moves a few items at a border, not the codebook


def test_a_dimension_that_never_varies_does_no_harm(embeddings):
    flat = embeddings.copy()
    flat[:, 3] = 0.5
    model, history = train_rqvae(flat, toy_config(), epochs=2, progress=False)
    assert np.isfinite(history[-1]["loss"]) and model.embedding_std[3] == 1


def test_without_warmup_codes_fall_out_of_use_and_resetting_brings_them_back(embeddings):
    def coverage(**options) -> float:
        history = train_rqvae(
            embeddings, toy_config(codebook_size=48), epochs=12, batch_size=60, progress=False, **options
        )[1]
        return float(np.mean(history[-1]["coverage"]))

    assert coverage(warmup_epochs=0) < coverage(warmup_epochs=0, reset_unused=True)


def test_reset_moves_unused_entries_and_no_others(model, embeddings):
    data = torch.from_numpy(embeddings)
    with torch.no_grad():
        model.codebooks[:, 7:] = 1e3  # out of everyone's reach
    before = model.codebooks.detach().clone()
    used = [set(level.tolist()) for level in model.encode(data).T]
    reset_unused_entries(model, data, torch.Generator().manual_seed(0))
    changed = (model.codebooks != before).any(dim=2)
    assert not any(changed[0, code] for code in used[0])
    assert changed[0, 7:].all() and model.codebooks.abs().max() < 1e3


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"codebook_size": 241}, {}, r"codebook_size \(241\).*number of items \(240\).*--codebook_size"),
        ({"embedding_size": 17}, {}, r"width 16, the configuration says 17"),
        ({}, {"epochs": 0}, "epochs must be at least 1, got 0"),
        ({}, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({}, {"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({}, {"epochs": 3, "warmup_epochs": 3}, r"warmup_epochs \(3\) must leave some of the epochs \(3\)"),
        ({}, {"epochs": 3, "learning_rate": 1e30}, "finite after the warm-up; pass a smaller learning_rate"),
        ({}, {"epochs": 3, "learning_rate": 1e30, "warmup_epochs": 0}, "loss is (nan|inf) after epoch 1.*smaller"),
    ],
)
def test_bad_training_arguments_are_named(embeddings, changes, arguments, message: str):
    with pytest.raises(ValueError, match=message):
        train_rqvae(embeddings, toy_config(**changes), progress=False, **arguments)


def test_an_embedding_that_is_not_finite_is_named(embeddings):
    broken = embeddings.copy()
    broken[17, 2] = np.nan
    with pytest.raises(ValueError, match="embedding in row 17 is not finite"):
        train_rqvae(broken, toy_config(), epochs=1, progress=False)


def test_bad_model_input_is_named(model):
    with pytest.raises(ValueError, match=r"shape \(num_items, 16\), got \(3, 5\)"):
        model(torch.zeros(3, 5))
    with pytest.raises(ValueError, match=r"shape \(num_items, 2\), got \(3, 3\); leave out the collision level"):
        model.decode(torch.zeros(3, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"0\.\.11 \(codebook_size 12\), got 0\.\.12"):
        model.decode(torch.tensor([[0, 12]]))
    # The configuration's validation wraps the reason in an error of the Hub's library.
    for changes, message in [
        ({"hidden_sizes": []}, "hidden_sizes is empty"),
        ({"dropout": 1.0}, "dropout must lie in"),
    ]:
        with pytest.raises(Exception, match=message):
            toy_config(**changes)
